package hub

import "fmt"

// FieldError says which field of what was asked breaks a limit, and how. It wraps
// ErrInvalid.
type FieldError struct {
	Field  string // its path in JSON, such as users[3]
	Detail string // for people
}

// Invalid returns a FieldError.
func Invalid(field, format string, args ...any) error {
	return &FieldError{Field: field, Detail: fmt.Sprintf(format, args...)}
}

func (e *FieldError) Error() string { return e.Field + ": " + ErrInvalid.Error() + ": " + e.Detail }

func (e *FieldError) Unwrap() error { return ErrInvalid }
