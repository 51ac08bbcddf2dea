// Package times has the histograms of times in which helper processes of the bench
// report what their clients have seen.
package times

import (
	"fmt"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// New returns a histogram for times in microseconds, up to three minutes, to three
// digits.
func New() *hdrhistogram.Histogram { return hdrhistogram.New(1, 180_000_000, 3) }

// Encode is the form in which a histogram travels.
func Encode(h *hdrhistogram.Histogram) (string, error) {
	raw, err := h.Encode(hdrhistogram.V2CompressedEncodingCookieBase)
	if err != nil {
		return "", fmt.Errorf("encode times: %w", err)
	}
	return string(raw), nil
}

// Add adds an encoded histogram to sum.
func Add(sum *hdrhistogram.Histogram, encoded string) error {
	part, err := hdrhistogram.Decode([]byte(encoded))
	if err != nil {
		return fmt.Errorf("read the times of a helper process: %w", err)
	}
	sum.Merge(part)
	return nil
}
