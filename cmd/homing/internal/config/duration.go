package config

import (
	"fmt"
	"reflect"
	"time"

	"github.com/alecthomas/kong"
)

// Durations is a kong option: time.Duration is read from text with a unit and
// from nothing else. kong's own reader takes a number for nanoseconds.
func Durations() kong.Option {
	return kong.TypeMapper(reflect.TypeFor[time.Duration](), kong.MapperFunc(decodeDuration))
}

func decodeDuration(ctx *kong.DecodeContext, target reflect.Value) error {
	var text string
	if err := ctx.Scan.PopValueInto("duration", &text); err != nil {
		return err
	}
	d, err := time.ParseDuration(text)
	if err != nil {
		return fmt.Errorf("%q: want a duration with its unit, such as 25s, 500ms or 1h30m", text)
	}
	target.SetInt(int64(d))
	return nil
}
