package child

import (
	"bufio"
	"encoding/json"
	"net"
	"testing"
	"time"
)

// elsewhere is a link to a child on another machine.
type elsewhere struct{ net.Conn }

func (e elsewhere) CloseWrite() error { return e.Close() }
func (e elsewhere) Kill()             { e.Close() }
func (e elsewhere) Wait() error       { return nil }
func (e elsewhere) PID() int          { return 0 }
func (e elsewhere) String() string    { return "elsewhere" }

func TestClockOfAnotherMachine(t *testing.T) {
	const ahead = 90 * time.Second
	here, there := net.Pipe()
	answered := make(chan int)
	go func() {
		calls := 0
		for s := bufio.NewScanner(there); s.Scan(); calls++ {
			if calls > 0 {
				time.Sleep(5 * time.Millisecond) // only the first is quick
			}
			now, _ := json.Marshal(time.Now().Add(ahead).UnixNano())
			_ = json.NewEncoder(there).Encode(answer{Last: true, Value: now})
		}
		answered <- calls
	}()
	p := Over(elsewhere{here})
	c, err := p.Clock(t.Context())
	if err != nil || c.Uncertainty <= 0 || (c.Offset-ahead).Abs() > c.Uncertainty {
		t.Errorf("Clock = %+v, %v; want %v ahead", c, err, ahead)
	}
	if err := p.Stop(); err != nil {
		t.Error(err)
	}
	if calls := <-answered; calls != clockRounds {
		t.Errorf("asked %d times, want %d", calls, clockRounds)
	}
}

func TestClockOfThisMachineIsOurs(t *testing.T) {
	p := start(t)
	if c, err := p.Clock(t.Context()); err != nil || c != (Clock{}) {
		t.Errorf("Clock = %+v, %v", c, err)
	}
	var nanos int64
	before := time.Now()
	err := p.Call(t.Context(), clockCall, nil, &nanos, nil)
	if at := time.Unix(0, nanos); err != nil || at.Before(before) || at.After(time.Now()) {
		t.Errorf("the child's time is %v, %v", at, err)
	}
	if err := p.Stop(); err != nil {
		t.Error(err)
	}
}
