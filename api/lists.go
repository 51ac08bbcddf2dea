package api

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/homing/homing/hub"
)

// bounded are the options to decode a request whose lists may be longer than they
// may be: they are not read to their end. A list takes several times as much
// memory as its text.
var bounded = json.JoinOptions(strict, json.WithUnmarshalers(json.JoinUnmarshalers(
	json.UnmarshalFromFunc(list[hub.UserID]("users", hub.MaxUsers)),
	json.UnmarshalFromFunc(list[hub.Topic]("topics", hub.MaxTopics)),
	json.UnmarshalFromFunc(list[hub.Service]("services", hub.MaxServices)),
)))

// optionsFor are the options to decode body with: one with few commas has no list
// that takes much, and is decoded faster without looking for one.
func optionsFor(body []byte) json.Options {
	if bytes.Count(body, []byte(",")) > hub.MaxUsers {
		return bounded
	}
	return strict
}

// list decodes an array of up to most strings.
func list[T ~string](field string, most int) func(*jsontext.Decoder, *[]T) error {
	return func(dec *jsontext.Decoder, into *[]T) error {
		if dec.PeekKind() != jsontext.KindBeginArray {
			return errors.ErrUnsupported
		}
		if _, err := dec.ReadToken(); err != nil {
			return err
		}
		for dec.PeekKind() != jsontext.KindEndArray {
			if len(*into) == most {
				return &Error{Code: CodeInvalidField, Field: field, Detail: fmt.Sprintf("over %d", most)}
			}
			var one T
			if err := json.UnmarshalDecode(dec, &one); err != nil {
				return err
			}
			*into = append(*into, one)
		}
		_, err := dec.ReadToken()
		return err
	}
}
