package config

import (
	"fmt"

	"github.com/agnivade/levenshtein"
)

// didYouMean ends a sentence about a name that nobody knows.
func didYouMean(name string, known []string) string {
	if n := nearest(name, known); n != "" {
		return fmt.Sprintf("; did you mean %s?", n)
	}
	return ""
}

// nearest returns the name that differs least, if in at most a fifth of its
// letters, or two; else "".
func nearest(name string, known []string) (best string) {
	least := max(2, len(name)/5) + 1
	for _, k := range known {
		if d := levenshtein.ComputeDistance(name, k); d < least {
			best, least = k, d
		}
	}
	return best
}
