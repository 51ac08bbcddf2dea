package conformance

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"time"
)

// Options say how situations are played.
type Options struct {
	// Late is by how much an attempt may come later than it should: machines are
	// slow. It must not come earlier. Zero: 5 s.
	Late   time.Duration
	Stderr io.Writer // the agent's; nil: nowhere
}

// ErrSkipped says that a client lacks what a situation needs.
var ErrSkipped = errors.New("skipped")

// play is one situation that is being played.
type play struct {
	opts     Options
	agent    *Agent
	attempts *attempts
	values   values
	links    map[string]*link
	all      []*link
	last     *link
	mark     time.Time // when a connection or an attempt has ended last
}

// early is by how much timers of clients may be early: their clocks count in
// milliseconds.
const early = 15 * time.Millisecond

// Play has an agent go through a situation, and returns nil when it did all right,
// ErrSkipped when it does not take part, or else what it did wrong.
func Play(ctx context.Context, s Situation, command []string, opts Options) error {
	a, err := StartAgent(ctx, command, opts.Stderr)
	if err != nil {
		return err
	}
	for _, need := range s.Needs {
		if !slices.Contains(a.Can, need) {
			_ = a.Stop(patience) // it was told nothing
			return fmt.Errorf("%w: the client cannot do %q", ErrSkipped, need)
		}
	}
	at, err := listen(ctx, s.streams())
	if err != nil {
		a.Kill()
		return err
	}
	defer at.close()
	if opts.Late == 0 {
		opts.Late = 5 * time.Second
	}
	p := &play{
		opts: opts, agent: a, attempts: at, links: make(map[string]*link), mark: time.Now(),
		values: at.addresses(),
	}
	defer p.cut()
	if err = p.run(ctx, s); err != nil {
		a.Kill()
		return fmt.Errorf("%w\nThe client has told:\n%s", err, a.Said())
	}
	return nil
}

func (p *play) cut() {
	for _, l := range p.all {
		l.cut()
	}
}

func (p *play) run(ctx context.Context, s Situation) error {
	start := map[string]any{"do": "start", "url": p.values["$url"], "tokens": s.Start.Tokens, "place": s.Start.Place, "hold": s.Start.Hold}
	if s.Start.Tokens == nil {
		start["tokens"] = []string{"t1"}
	}
	if err := p.agent.Tell(start); err != nil {
		return err
	}
	for i := range s.Steps {
		if err := p.step(ctx, &s.Steps[i]); err != nil {
			b, _ := json.Marshal(s.Steps[i]) // it came from JSON
			return fmt.Errorf("step %d, %s: %w", i+1, b, err)
		}
	}
	return p.end(ctx)
}

// step does one step.
func (p *play) step(ctx context.Context, s *Step) error {
	switch {
	case s.Accept != nil:
		return p.accept(ctx, s.Accept)
	case s.Refuse != nil:
		return p.refuse(ctx, s.Refuse)
	case s.Drop != nil:
		return p.drop(ctx, s.Drop)
	case s.NoAttempt > 0:
		return p.noAttempt(ctx, s.NoAttempt)
	case s.Sleep > 0:
		return sleep(ctx, time.Duration(s.Sleep)*time.Millisecond)
	case s.Tell != nil, s.Hear != nil, s.Unsaid != nil:
		return p.talk(ctx, s)
	}
	l := p.last
	if s.On != "" {
		l = p.links[s.On]
	}
	if l == nil {
		return errors.New("there is no such connection")
	}
	return p.onLink(ctx, l, s)
}

// talk is a step between the script and the agent.
func (p *play) talk(ctx context.Context, s *Step) error {
	switch {
	case s.Tell != nil:
		m, err := p.values.object(s.Tell)
		if err != nil {
			return err
		}
		return p.agent.Tell(m)
	case s.Hear != nil:
		m, err := p.values.object(s.Hear)
		if err != nil {
			return err
		}
		got, err := p.agent.Hear(ctx, m, patience)
		if err == nil {
			p.values.keep(fmt.Sprint(m["event"]), got)
		}
		return err
	}
	if err := sleep(ctx, time.Duration(s.Unsaid.MS)*time.Millisecond); err != nil {
		return err
	}
	return p.agent.unsaid(s.Unsaid.Event)
}

// onLink is a step on a connection.
func (p *play) onLink(ctx context.Context, l *link, s *Step) error {
	switch {
	case s.Send != nil:
		m, err := p.values.object(s.Send)
		if err != nil {
			return err
		}
		b, _ := json.Marshal(m) // it came from JSON
		return l.send(b)
	case s.SendBinary != "":
		return l.sendBinary(s.SendBinary)
	case s.Read != nil:
		return p.read(ctx, l, s.Read)
	case s.ReadBinary != "":
		return l.nextBinary(ctx, s.ReadBinary)
	case s.Acked != nil:
		return l.untilAcked(ctx, s.Acked)
	case s.Quiet != nil:
		return l.quiet(ctx, s.Quiet)
	case s.Freeze:
		l.frozen.Store(true)
	case s.Close != nil:
		p.mark = time.Now()
		return l.close(ctx, s.Close)
	case s.Closed > 0:
		return l.untilClosed(ctx, s.Closed)
	case s.Cut:
		l.cut()
	}
	p.mark = time.Now()
	return nil
}

func (p *play) read(ctx context.Context, l *link, raw json.RawMessage) error {
	want, err := p.values.object(raw)
	if err != nil {
		return err
	}
	kind := fmt.Sprint(want["t"])
	got, err := l.next(ctx, kind)
	if err != nil {
		return err
	}
	p.values.keep(kind, got)
	if !fits(want, got) {
		return fmt.Errorf("the client sends %s", text(got))
	}
	return nil
}

// attempt waits for the next attempt and judges when it comes.
func (p *play) attempt(ctx context.Context, w Within) (*attempt, error) {
	within := patience
	if len(w.After) == 2 {
		within = time.Until(p.mark) + time.Duration(w.After[1])*time.Millisecond + p.opts.Late
	}
	x, err := p.attempts.next(ctx, within)
	if err != nil || len(w.After) != 2 {
		return x, err
	}
	if after := x.at.Sub(p.mark); after < time.Duration(w.After[0])*time.Millisecond-early {
		close(x.done)
		return nil, fmt.Errorf("the client comes after %v, want %d to %d ms", after, w.After[0], w.After[1])
	}
	return x, nil
}

var usual = map[string]any{"t": "hello", "user": "ann", "conn": "c1", "resume": true, "ping": 25000}

func (p *play) accept(ctx context.Context, a *Accept) error {
	x, err := p.attempt(ctx, a.Within)
	if err != nil {
		return err
	}
	if err = x.checkAccept(a, p.values.text(a.Host)); err != nil {
		close(x.done)
		return err
	}
	begin := x.accept
	if a.Stream {
		begin = func() (*link, error) { return newStream(x) }
	} else {
		p.attempts.told(nil, false)
	}
	l, err := begin()
	if err != nil {
		return err
	}
	p.last, p.all = l, append(p.all, l)
	if a.As != "" {
		p.links[a.As] = l
	}
	p.mark = time.Now()
	if a.NoHello {
		return nil
	}
	hello := maps.Clone(usual)
	maps.Copy(hello, a.Hello)
	maps.DeleteFunc(hello, func(_ string, v any) bool { return v == nil })
	b, _ := json.Marshal(hello) // it came from JSON
	return l.send(b)
}

func (p *play) refuse(ctx context.Context, r *Refuse) error {
	x, err := p.attempt(ctx, r.Within)
	if err != nil {
		return err
	}
	defer close(x.done)
	if !r.Stream {
		p.attempts.told(r, false)
	}
	if err = x.check(r.Token, p.values.text(r.Host), r.Stream); err != nil {
		return err
	}
	r.answer(x.w)
	p.mark = time.Now()
	return nil
}

func (p *play) drop(ctx context.Context, w *Within) error {
	x, err := p.attempt(ctx, *w)
	if err != nil {
		return err
	}
	p.attempts.told(nil, true)
	cutOff(x.w)
	close(x.done)
	p.mark = time.Now()
	return nil
}

func (p *play) noAttempt(ctx context.Context, ms int) error {
	if err := sleep(ctx, time.Duration(ms)*time.Millisecond); err != nil {
		return err
	}
	if len(p.attempts.queue) > 0 {
		return errors.New("the client tries to connect")
	}
	return nil
}

// endWithin is how long a client that is closed, and its agent, may take to end.
const endWithin = 10 * time.Second

// end closes the client, which must then leave nothing behind, and looks for what
// was too much.
func (p *play) end(ctx context.Context) error {
	if err := p.agent.Tell(map[string]any{"do": "close"}); err != nil {
		return err
	}
	if !slices.Contains(p.agent.States(), "closed") {
		if _, err := p.agent.Hear(ctx, map[string]any{"event": "state", "state": "closed"}, endWithin); err != nil {
			return err
		}
	}
	if err := p.agent.Stop(endWithin); err != nil {
		return err
	}
	errs := []error{p.agent.unsaid(strict...)}
	for _, l := range p.all {
		errs = append(errs, l.rest())
	}
	if len(p.attempts.queue) > 0 {
		errs = append(errs, errors.New("the client has tried to connect when nobody asked for it"))
	}
	return errors.Join(errs...)
}
