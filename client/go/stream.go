package client

import (
	"context"

	"golang.org/x/sync/semaphore"
)

// stream reads a connection ahead of the application, so that pings are
// answered while a Handler works. What it holds is bounded in messages and in
// bytes: when it is full, the server's next bytes wait in the kernels of both
// sides, and then at the server.
type stream struct {
	conn  *Conn
	queue chan Message
	bytes *semaphore.Weighted
	most  int64 // bytes

	discard context.CancelFunc // from then on what arrives is dropped
	ended   chan struct{}      // closed when the connection has been read to its end
	err     error              // why; readable once queue is closed
}

// readAhead starts to read conn. The stream ends with the connection; whoever
// ends that calls discard and waits for ended.
func readAhead(ctx context.Context, conn *Conn, opts *Options) *stream {
	ctx = context.WithoutCancel(ctx)
	most := positive(opts.QueueBytes, defaultQueueBytes)
	s := &stream{
		conn:  conn,
		queue: make(chan Message, positive(opts.QueueMessages, defaultQueueMessages)),
		bytes: semaphore.NewWeighted(int64(most)),
		most:  int64(most),
		ended: make(chan struct{}),
	}
	keeping, discard := context.WithCancel(ctx)
	s.discard = discard
	go s.read(ctx, keeping)
	return s
}

// read queues messages until keeping ends, and then drops them, until the
// connection ends.
func (s *stream) read(ctx, keeping context.Context) {
	defer close(s.ended)
	defer close(s.queue)
	for {
		m, err := s.conn.Receive(ctx)
		if err != nil {
			s.err = err
			return
		}
		if s.bytes.Acquire(keeping, s.weight(m)) != nil {
			continue
		}
		select {
		case s.queue <- m:
		case <-keeping.Done():
		}
	}
}

// weight is what m counts of the bytes; one that is larger than all of them
// waits until it is alone.
func (s *stream) weight(m Message) int64 { return min(int64(len(m.Raw)), s.most) }

// next blocks for the next message, and returns the connection's error after
// the last, or ctx's as soon as ctx has ended. Each message is to be given
// back to done.
func (s *stream) next(ctx context.Context) (Message, error) {
	if ctx.Err() != nil {
		return Message{}, ctx.Err()
	}
	select {
	case m, ok := <-s.queue:
		if !ok {
			return Message{}, s.err
		}
		return m, nil
	case <-ctx.Done():
		return Message{}, ctx.Err()
	}
}

// done makes room after a message has been dealt with.
func (s *stream) done(m Message) { s.bytes.Release(s.weight(m)) }
