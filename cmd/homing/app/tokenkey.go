package app

import (
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"

	"github.com/homing/homing/api/apikey"
	"github.com/homing/homing/hub"
)

// tokenKeyCmd tends a file of API keys. API servers notice a change by
// themselves, within --api-keys-poll.
type tokenKeyCmd struct {
	Add    keyAddCmd    `cmd:"" default:"withargs" help:"Make a key. This is what 'homing token key' alone does."`
	List   keyListCmd   `cmd:"" help:"List the keys of a file."`
	Rotate keyRotateCmd `cmd:"" help:"Give a key another secret; the one before it ends."`
	Set    keySetCmd    `cmd:"" help:"Change what a key may do, and how much."`
	Revoke keyRevokeCmd `cmd:"" help:"Take a key out of a file."`
}

// keyLimits are flags of what a key may take up.
type keyLimits struct {
	Rate       *float64 `help:"Units of cost per second; a small request costs one. 0: what --api-key-rate says." placeholder:"UNITS"`
	Burst      *int     `help:"Units at once. 0: a second's worth." placeholder:"UNITS"`
	InFlight   *int     `help:"Requests worked on at once. 0: what --api-key-in-flight says." placeholder:"N"`
	StoreBytes *int64   `help:"Bytes that it may have stored at a time. 0: the default of the API servers." placeholder:"BYTES"`
	Open       *int     `help:"Requests under way at once, with batches and those that wait. 0: what --api-key-open says." placeholder:"N"`
}

// apply changes spec by the flags that were given.
func (l *keyLimits) apply(spec *apikey.Spec) {
	set(&spec.Rate, l.Rate)
	set(&spec.Burst, l.Burst)
	set(&spec.InFlight, l.InFlight)
	set(&spec.Open, l.Open)
	set(&spec.StoreBytes, l.StoreBytes)
}

func set[T any](to, from *T) {
	if from != nil {
		*to = *from
	}
}

type keyAddCmd struct {
	Name   string         `help:"Who will use the key, as it appears in logs and metrics." required:""`
	Scopes []apikey.Scope `help:"What the key may do." default:"notify,broadcast,presence,disconnect,rooms,match"`
	From   []hub.Service  `help:"Services that the key may speak for; none given: any."`
	File   string         `help:"YAML file of API keys that the new key is added to; empty: print its entry." type:"path"`
	Rotate bool           `help:"When there is a key of the name, give it another secret, as 'rotate' does."`
	keyLimits
}

// Help is shown below the flags.
func (*keyAddCmd) Help() string {
	return `The key itself is printed once and stored nowhere: the file holds its hash.`
}

func (c *keyAddCmd) Run(s streams) error {
	key, spec, err := apikey.Generate(c.Name, c.Scopes)
	if err != nil {
		return err
	}
	spec.From = c.From
	c.apply(&spec)
	if c.File == "" {
		fmt.Fprintf(s.err, "Add this entry to the file of API keys (--api-keys):\n%s\nThe key, shown only now:\n", spec.YAML())
		_, err = fmt.Fprintln(s.out, key)
		return err
	}
	err = apikey.Edit(c.File, func(f *apikey.File) error {
		err := f.Add(spec)
		if errors.Is(err, apikey.ErrExists) && c.Rotate {
			return rotate(f, spec)
		}
		return err
	})
	if errors.Is(err, apikey.ErrExists) {
		return fmt.Errorf("--name: %w in %s: choose another, or give it another secret with --rotate", err, c.File)
	}
	if err != nil {
		return fmt.Errorf("--file: %w", err)
	}
	return tell(s, key, c.Name, c.File)
}

// rotate gives the key of spec's name the hash of spec.
func rotate(f *apikey.File, spec apikey.Spec) error {
	return f.Change(spec.Name, func(old *apikey.Spec) { old.Hash = spec.Hash })
}

func tell(s streams, key, name, file string) error {
	fmt.Fprintf(s.err, "The hash of key %q is in %s. The key, shown only now:\n", name, file)
	_, err := fmt.Fprintln(s.out, key)
	return err
}

// keyFile are the flags of what works on a key that exists.
type keyFile struct {
	Name string `help:"Name of the key." required:""`
	File string `help:"YAML file of API keys." type:"existingfile" required:""`
}

// change has edit change the file.
func (c *keyFile) change(edit func(*apikey.File) error) error {
	err := apikey.Edit(c.File, edit)
	switch {
	case errors.Is(err, apikey.ErrUnknown):
		return fmt.Errorf("--name: %w in %s: see homing token key list", err, c.File)
	case err != nil:
		return fmt.Errorf("--file: %w", err)
	}
	return nil
}

type keyRotateCmd struct {
	keyFile
}

// Help is shown below the flags.
func (*keyRotateCmd) Help() string {
	return `The old secret is refused as soon as the API servers have read the file. To change
it without a gap, add a second key, let the backend change over, and revoke the first.`
}

func (c *keyRotateCmd) Run(s streams) error {
	key, spec, err := apikey.Generate(c.Name, apikey.AllScopes())
	if err != nil {
		return err
	}
	if err := c.change(func(f *apikey.File) error { return rotate(f, spec) }); err != nil {
		return err
	}
	return tell(s, key, c.Name, c.File)
}

type keyRevokeCmd struct {
	keyFile
}

func (c *keyRevokeCmd) Run(s streams) error {
	err := c.change(func(f *apikey.File) error {
		if len(f.Keys()) == 1 && f.Keys()[0].Name == c.Name {
			return fmt.Errorf("%s is the last key of %s: API servers refuse a file without keys and would keep it; add another first", c.Name, c.File)
		}
		return f.Remove(c.Name)
	})
	if err != nil {
		return err
	}
	fmt.Fprintf(s.err, "Key %q is no longer in %s.\n", c.Name, c.File)
	return nil
}

type keySetCmd struct {
	keyFile
	Scopes []apikey.Scope `help:"What the key may do; none given: as before."`
	From   []hub.Service  `help:"Services that the key may speak for; none given: as before."`
	keyLimits
}

func (c *keySetCmd) Run(s streams) error {
	var now apikey.Spec
	err := c.change(func(f *apikey.File) error {
		return f.Change(c.Name, func(spec *apikey.Spec) {
			if len(c.Scopes) > 0 {
				spec.Scopes = c.Scopes
			}
			if len(c.From) > 0 {
				spec.From = c.From
			}
			c.apply(spec)
			now = *spec
		})
	})
	if err != nil {
		return err
	}
	return table(s.out, []apikey.Spec{now})
}

type keyListCmd struct {
	File string `help:"YAML file of API keys." type:"existingfile" required:""`
}

func (c *keyListCmd) Run(s streams) error {
	specs, err := apikey.ReadFile(c.File)
	if err != nil {
		return fmt.Errorf("--file: %w", err)
	}
	return table(s.out, specs)
}

// table prints keys, one a line. A dash is the server's default.
func table(w io.Writer, specs []apikey.Spec) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "NAME\tSCOPES\tFROM\tRATE\tBURST\tIN FLIGHT\tOPEN\tSTORE BYTES\tHASH")
	for _, k := range specs {
		fmt.Fprintln(t, strings.Join([]string{
			k.Name, joined(k.Scopes), orDash(joined(k.From)),
			number(k.Rate), number(float64(k.Burst)), number(float64(k.InFlight)), number(float64(k.Open)), number(float64(k.StoreBytes)),
			k.Hash[:len("sha256:")+8] + "…",
		}, "\t"))
	}
	return t.Flush()
}

func joined[S ~string](list []S) string {
	out := make([]string, len(list))
	for i, s := range list {
		out[i] = string(s)
	}
	return strings.Join(out, ",")
}

func number(n float64) string {
	if n == 0 {
		return "-"
	}
	return strconv.FormatFloat(n, 'f', -1, 64)
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}
