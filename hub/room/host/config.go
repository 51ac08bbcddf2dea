package host

import (
	"errors"
	"fmt"
	"net/url"
	"os"
	"strings"
	"time"
)

// Config is what an operator chooses about rooms.
type Config struct {
	SecretFile string `help:"File with the secrets that seat tickets are signed with, one per line, 32 characters or more each: the first one signs, all are accepted. All fronts have the same. Empty: this front has no rooms." placeholder:"FILE"`
	URL        string `help:"Where players reach this front, as ws://host:port/ws or wss://…: they are sent there into a room." placeholder:"URL"`

	Classes string `help:"YAML file of room classes that relay what their members say, beside those that are built in." placeholder:"FILE"`

	MaxRooms int `help:"Rooms of one worker; more are opened elsewhere." default:"20000"`
	MaxSeats int `help:"Seats of all rooms of one worker, reserved ones too; no more are given." default:"40000"`

	TicketTTL time.Duration `help:"How long a seat ticket is good; players who join get a fresh one." default:"6h"`

	CheckpointRate int           `help:"Bytes of checkpoints that one worker writes per second; rooms wait for their turn." default:"8388608"`
	MoveRate       int           `help:"Seats of the rooms that one worker hands over per second, so that their players find the other worker's door open (--front-admit-rate); rooms wait for their turn while they are played in. A worker that stops does not take longer than half of its time." default:"400"`
	AdoptRate      int           `help:"Rooms of dead workers that one worker takes over per second." default:"200"`
	Stuck          time.Duration `help:"A room whose logic has not returned for this long is ended." default:"5s"`
	DrainTimeout   time.Duration `help:"How long a worker that stops may take to hand its rooms over; those that are left end." default:"8s"`
	RecordDir      string        `help:"Write what happens to each room to a file in this folder, to be replayed: for finding faults, not for every day." placeholder:"DIR"`

	// Secrets are used instead of SecretFile.
	Secrets [][]byte `kong:"-"`
}

// minSecret is how long a secret is at least, in bytes.
const minSecret = 32

// Enabled reports whether there are to be rooms.
func (c *Config) Enabled() bool { return c.SecretFile != "" || len(c.Secrets) > 0 }

// Validate reports the first option that cannot work.
func (c *Config) Validate() error {
	if !c.Enabled() {
		return nil
	}
	u, err := url.Parse(c.URL)
	switch {
	case err != nil || u.Scheme != "ws" && u.Scheme != "wss" || u.Host == "":
		return fmt.Errorf("room.url: %q: want ws://host:port/ws or wss://host/ws, where players reach this front", c.URL)
	case c.MaxRooms < 1 || c.MaxSeats < 1:
		return fmt.Errorf("room.max-rooms, room.max-seats: %d, %d: want 1 or more", c.MaxRooms, c.MaxSeats)
	case c.TicketTTL < time.Minute:
		return fmt.Errorf("room.ticket-ttl: %v: want 1m or more", c.TicketTTL)
	case c.CheckpointRate < 1 || c.AdoptRate < 1 || c.MoveRate < 1:
		return fmt.Errorf("room.checkpoint-rate, room.adopt-rate, room.move-rate: %d, %d, %d: want 1 or more", c.CheckpointRate, c.AdoptRate, c.MoveRate)
	case c.Stuck < time.Second || c.DrainTimeout <= 0:
		return fmt.Errorf("room.stuck, room.drain-timeout: %v, %v: want 1s or more, and more than 0", c.Stuck, c.DrainTimeout)
	}
	return nil
}

// secrets are those that tickets are signed with.
func (c *Config) secrets() ([][]byte, error) {
	if len(c.Secrets) > 0 {
		return c.Secrets, nil
	}
	b, err := os.ReadFile(c.SecretFile)
	if err != nil {
		return nil, fmt.Errorf("room.secret-file: %w", err)
	}
	var all [][]byte
	for line := range strings.Lines(string(b)) {
		if line = strings.TrimSpace(line); line == "" {
			continue
		}
		if len(line) < minSecret {
			return nil, fmt.Errorf("room.secret-file: %s: a secret of %d characters, want %d or more", c.SecretFile, len(line), minSecret)
		}
		all = append(all, []byte(line))
	}
	if len(all) == 0 {
		return nil, errors.New("room.secret-file: " + c.SecretFile + " has no secret")
	}
	return all, nil
}
