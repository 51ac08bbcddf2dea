package capacity

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
)

// Count is a number as people type it: 200000, 200k, 1.5M, 2G.
type Count float64

// Bytes is a size of memory: 64GiB, 512MB, 1073741824. Units of 1,024 end in iB.
type Bytes float64

// BitRate is a network's speed in bits per second: 10Gbit, 2500M.
type BitRate float64

var errNoNumber = errors.New("want a number of 0 or more, with a unit perhaps")

// scaled reads a number and one of the units behind it, regardless of case.
func scaled(text string, units map[string]float64) (float64, error) {
	s := strings.ToLower(strings.ReplaceAll(strings.TrimSpace(text), "_", ""))
	end := strings.LastIndexAny(s, "0123456789.") + 1
	v, err := strconv.ParseFloat(s[:end], 64)
	if err != nil || math.IsInf(v, 0) || v < 0 {
		return 0, fmt.Errorf("%q: %w", text, errNoNumber)
	}
	unit, ok := units[strings.TrimSpace(s[end:])]
	if !ok {
		return 0, fmt.Errorf("%q: unknown unit %q", text, strings.TrimSpace(s[end:]))
	}
	return v * unit, nil
}

// UnmarshalText reads a count.
func (c *Count) UnmarshalText(text []byte) error {
	v, err := scaled(string(text), map[string]float64{"": 1, "k": 1e3, "m": 1e6, "g": 1e9, "b": 1e9})
	*c = Count(v)
	return err
}

// UnmarshalText reads a size.
func (b *Bytes) UnmarshalText(text []byte) error {
	v, err := scaled(string(text), map[string]float64{
		"": 1, "b": 1, "kb": 1e3, "mb": 1e6, "gb": 1e9, "tb": 1e12,
		"kib": 1 << 10, "mib": 1 << 20, "gib": 1 << 30, "tib": 1 << 40,
	})
	*b = Bytes(v)
	return err
}

// UnmarshalText reads a bit rate.
func (b *BitRate) UnmarshalText(text []byte) error {
	v, err := scaled(strings.TrimSuffix(strings.ToLower(string(text)), "/s"), map[string]float64{
		"": 1, "bit": 1, "k": 1e3, "kbit": 1e3, "m": 1e6, "mbit": 1e6, "g": 1e9, "gbit": 1e9, "t": 1e12, "tbit": 1e12,
	})
	*b = BitRate(v)
	return err
}

// short prints a number with three significant digits and a unit of 1,000.
func short(v float64) string {
	for _, u := range []struct {
		size float64
		name string
	}{{1e12, "T"}, {1e9, "G"}, {1e6, "M"}, {1e4, "k"}} {
		if v >= 0.9995*u.size {
			base := u.size
			if u.name == "k" {
				base = 1e3
			}
			return digits(v/base) + u.name
		}
	}
	return digits(v)
}

// digits prints three significant digits, or all of those before the point.
func digits(v float64) string {
	switch {
	case v == math.Trunc(v) && v < 1e4, v >= 99.95:
		return thousands(math.Round(v))
	case v >= 9.995:
		return trim(strconv.FormatFloat(v, 'f', 1, 64))
	case v >= 0.995:
		return trim(strconv.FormatFloat(v, 'f', 2, 64))
	default:
		return strconv.FormatFloat(v, 'g', 2, 64)
	}
}

func trim(s string) string { return strings.TrimSuffix(strings.TrimRight(s, "0"), ".") }

// thousands prints a whole number with separators.
func thousands(v float64) string {
	s := strconv.FormatFloat(v, 'f', 0, 64)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

func bitRate(bytesPerSecond float64) string { return short(8*bytesPerSecond) + "bit/s" }

func size(bytes float64) string {
	for _, u := range []struct {
		size float64
		name string
	}{{1 << 40, "TiB"}, {1 << 30, "GiB"}, {1 << 20, "MiB"}} {
		if bytes >= u.size {
			return digits(bytes/u.size) + " " + u.name
		}
	}
	return digits(bytes/1024) + " KiB"
}

func percent(share float64) string { return strconv.FormatFloat(100*share, 'f', 0, 64) + "%" }
