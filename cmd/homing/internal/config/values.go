package config

import (
	"fmt"
	"log/slog"
	"math"
	"reflect"
	"strconv"
	"strings"
	"time"

	"github.com/alecthomas/kong"
)

// Values are kong options that read durations and numbers more strictly than
// kong does: it takes a number for nanoseconds, 010 for 8, and NaN, which is
// neither too small nor too large for any check.
func Values() kong.Option {
	return kong.OptionFunc(func(k *kong.Kong) error {
		for _, o := range []kong.Option{
			kong.TypeMapper(reflect.TypeFor[time.Duration](), reader("duration", setDuration)),
			kong.TypeMapper(reflect.TypeFor[slog.Level](), reader("level", setLevel)),
			kong.KindMapper(reflect.Int, reader("int", setInt)),
			kong.KindMapper(reflect.Int64, reader("int", setInt)),
			kong.KindMapper(reflect.Float64, reader("float", setFloat)),
		} {
			if err := o.Apply(k); err != nil {
				return err
			}
		}
		return nil
	})
}

// reader is a mapper of text.
func reader(name string, set func(text string, target reflect.Value) error) kong.Mapper {
	return kong.MapperFunc(func(ctx *kong.DecodeContext, target reflect.Value) error {
		var text string
		if err := ctx.Scan.PopValueInto(name, &text); err != nil {
			return err
		}
		return set(text, target)
	})
}

func setDuration(text string, target reflect.Value) error {
	d, err := time.ParseDuration(text)
	if err != nil {
		return fmt.Errorf("%q: want a duration with its unit, such as 25s, 500ms or 1h30m", text)
	}
	target.SetInt(int64(d))
	return nil
}

func setLevel(text string, target reflect.Value) error {
	var level slog.Level
	if err := level.UnmarshalText([]byte(text)); err != nil {
		return fmt.Errorf("%q: want debug, info, warn or error", text)
	}
	target.SetInt(int64(level))
	return nil
}

func setInt(text string, target reflect.Value) error {
	digits := strings.TrimLeft(text, "+-")
	n, err := strconv.ParseInt(text, 10, target.Type().Bits())
	if err != nil || len(digits) > 1 && digits[0] == '0' {
		return fmt.Errorf("%q: want a whole number in decimal digits", text)
	}
	target.SetInt(n)
	return nil
}

func setFloat(text string, target reflect.Value) error {
	v, err := strconv.ParseFloat(text, 64)
	if err != nil || math.IsNaN(v) || math.IsInf(v, 0) {
		return fmt.Errorf("%q: want a number", text)
	}
	target.SetFloat(v)
	return nil
}
