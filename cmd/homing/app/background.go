package app

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/sync/errgroup"
)

// background is what a server stands on: discovery, leases, subscriptions. It
// outlives the signal that stops the server, because a server that drains
// still needs its Redis, and ends when stop is called.
type background struct {
	ctx    context.Context //nolint:containedctx // the life of the group, not of a call
	cancel context.CancelFunc
	group  *errgroup.Group
}

// newBackground returns an empty group. The context that comes with it ends
// with ctx, or as soon as a member of the group fails: it is the server's.
func newBackground(ctx context.Context) (*background, context.Context) {
	base, cancel := context.WithCancel(context.WithoutCancel(ctx))
	group, base := errgroup.WithContext(base)
	b := &background{ctx: base, cancel: cancel, group: group}
	serving, stop := context.WithCancel(ctx)
	context.AfterFunc(base, stop)
	return b, serving
}

// run starts one member; name is for its error.
func (b *background) run(name string, f func(context.Context) error) {
	b.group.Go(func() error {
		if err := f(b.ctx); err != nil && b.ctx.Err() == nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		return nil
	})
}

// end is stop for a server that ended with err. Where a member failed, that is
// why the server was stopped, and err is not worth a word.
func (b *background) end(err error) error {
	failed := b.stop()
	if failed != nil && errors.Is(err, context.Canceled) {
		return failed
	}
	return errors.Join(failed, err) // the cause first: the rest may follow from it
}

// stop ends every member, waits for them, and returns the first failure.
func (b *background) stop() error {
	b.cancel()
	return b.group.Wait()
}
