package scale

import (
	"fmt"
	"slices"
	"strings"
	"time"
	_ "time/tzdata" // zones are known on machines that have no list of them

	"github.com/homing/homing/hub"
)

// Slot is a time of the week in which more nodes are ready.
type Slot struct {
	Name string `yaml:"name"` // for people
	// Days are those on which it begins: mon, tue, wed, thu, fri, sat, sun. None: all.
	Days []string `yaml:"days"`
	// From and To are times of day, "18:30". One that ends before it begins ends on the
	// next day. "24:00" is the end of a day.
	From string `yaml:"from"`
	To   string `yaml:"to"`
	// Zone is where these times are, by its name in the IANA list, as "Europe/Berlin".
	// Empty: UTC. When clocks change, a slot begins and ends as the clocks there show.
	Zone     string `yaml:"zone"`
	MinReady int    `yaml:"min_ready"` // how many nodes are ready then, at least

	from, to int // minutes of a day
	days     []time.Weekday
	zone     *time.Location
}

var weekdays = []string{"sun", "mon", "tue", "wed", "thu", "fri", "sat"}

func (s *Slot) complete(most int) (err error) {
	if s.zone, err = time.LoadLocation(s.Zone); err != nil || s.Zone == "Local" {
		return fmt.Errorf("zone is %q: %w: no such zone is known", s.Zone, hub.ErrInvalid)
	}
	if s.from, err = minutes(s.From); err != nil {
		return fmt.Errorf("from %w", err)
	}
	if s.to, err = minutes(s.To); err != nil {
		return fmt.Errorf("to %w", err)
	}
	if s.from == s.to {
		return fmt.Errorf("to is %q: %w: it is when the slot begins", s.To, hub.ErrInvalid)
	}
	if s.MinReady < 1 || s.MinReady > most {
		return fmt.Errorf("min_ready is %d: %w: it must be 1 to max", s.MinReady, hub.ErrInvalid)
	}
	for _, day := range s.Days {
		i := slices.Index(weekdays, strings.ToLower(day))
		if i < 0 {
			return fmt.Errorf("days has %q: %w: days are %s", day, hub.ErrInvalid, strings.Join(weekdays, ", "))
		}
		s.days = append(s.days, time.Weekday(i))
	}
	return nil
}

// minutes reads a time of day.
func minutes(text string) (int, error) {
	if text == "24:00" {
		return 24 * 60, nil
	}
	t, err := time.Parse("15:04", text)
	if err != nil {
		return 0, fmt.Errorf("is %q: %w: a time of day looks like 18:30", text, hub.ErrInvalid)
	}
	return t.Hour()*60 + t.Minute(), nil
}

// holds reports whether at is in the slot.
func (s *Slot) holds(at time.Time) bool {
	at = at.In(s.zone)
	minute, day := at.Hour()*60+at.Minute(), at.Weekday()
	if s.from < s.to {
		return minute >= s.from && minute < s.to && s.on(day)
	}
	return minute >= s.from && s.on(day) || minute < s.to && s.on((day+6)%7)
}

func (s *Slot) on(day time.Weekday) bool {
	return len(s.days) == 0 || slices.Contains(s.days, day)
}

// String is the slot as people say it.
func (s *Slot) String() string {
	text := s.From + " to " + s.To + " " + s.zone.String()
	if len(s.Days) > 0 {
		text = strings.Join(s.Days, ", ") + " " + text
	}
	if s.Name != "" {
		text = s.Name + ": " + text
	}
	return text
}
