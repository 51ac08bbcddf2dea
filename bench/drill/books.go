package drill

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"github.com/homing/homing/bench/ledger"
	"github.com/homing/homing/bench/stack"
)

// The servers keep books of their own, in metrics. Those of the API servers and
// of the workers must agree: whatever one side says it has sent, the other has
// taken, or it is said to have been given up. Where a process has ended its
// books have ended with it, and only the clients' ledger is left.

const (
	scrapeTimeout = 5 * time.Second
	// balanceTimeout is how long what is under way may take to be entered.
	balanceTimeout = 10 * time.Second

	balanced    = "balance"
	offBy       = "off by"
	unavailable = "not available: "
)

// Names of what the books are kept in. All but the last four count users.
const (
	sentUsers       = "homing_notify_sent_users_total"       // in envelopes handed to the relay, by API servers
	takenBack       = "homing_notify_taken_back_users_total" // in envelopes not confirmed by processes that died
	givenUpUsers    = "homing_notify_given_up_users_total"   // in envelopes not confirmed by processes that live
	handedOver      = "homing_notify_handed_over_total"      // found again after they were taken back or given back
	unreached       = "homing_notify_unreached_total"        // not reached, by reason; those given up are among them
	givenUpReason   = unreached + "/window"
	takenUsers      = "homing_front_targets_total"        // in envelopes that workers took
	missedUsers     = "homing_front_missed_targets_total" // of those, not held by the worker
	returnedUsers   = "homing_notify_returned_total"      // of those, given back
	returnsLost     = "homing_notify_returns_dropped_total"
	writtenOut      = "homing_front_written_messages_total" // messages
	retainedBytes   = "homing_relay_retained_bytes"
	givenUpMessages = "homing_relay_given_up_total" // messages, by the relay
	startTime       = "process_start_time_seconds"
)

// books compares the servers' books as they are with those of when the load
// began.
type books struct {
	*journal

	api     *stack.APIs
	fronts  []*stack.Front
	fleet   *fleet
	opened  figures
	err     error // why there are none
	givenUp int   // users of what was given up, by the servers' word
}

// open reads the servers' metrics before the load.
func (b *books) open(ctx context.Context) { b.opened, b.err = b.read(ctx) }

// close reads the servers' metrics until they agree, or for a while, and
// enters the result. Nothing may be under way to clients.
func (b *books) close(ctx context.Context) {
	if b.err != nil {
		b.result.Books = unavailable + b.err.Error()
		return
	}
	ctx, cancel := context.WithTimeout(ctx, balanceTimeout)
	defer cancel()
	for {
		now, err := b.read(ctx)
		if ctx.Err() != nil {
			break
		}
		b.result.Books = b.opened.compare(now, err, b.fleet.received.Load()-b.fleet.replayed.Load())
		if !strings.HasPrefix(b.result.Books, offBy) || pause(ctx, 250*time.Millisecond) != nil {
			break
		}
	}
	if strings.HasPrefix(b.result.Books, offBy) {
		b.result.breaks("the books do not balance: %s", b.result.Books)
	}
}

// theFront is whose the books of the first front are.
const theFront = "the front"

// read reads the metrics of all API servers and of the fronts.
func (b *books) read(ctx context.Context) (figures, error) {
	f := newFigures()
	for i := range b.api.URLs() {
		if err := f.read(ctx, fmt.Sprintf("API server %d", i), b.api.Admin(i)); err != nil {
			return f, err
		}
	}
	for i, front := range b.fronts {
		whose := theFront
		if i > 0 {
			whose = fmt.Sprintf("front %d", i)
		}
		if err := f.read(ctx, whose, front.Admin()); err != nil {
			return f, err
		}
	}
	return f, nil
}

// countGivenUp reads what the servers say that they have given up.
func (b *books) countGivenUp(ctx context.Context, before figures) error {
	now, err := b.read(ctx)
	if err != nil {
		return err
	}
	b.givenUp = int(now.sums[givenUpUsers] - before.sums[givenUpUsers])
	b.say("by the servers' metrics, notifications were given up for %d users, in %d messages", b.givenUp,
		int(now.sums[givenUpMessages]-before.sums[givenUpMessages]))
	if now.sums[givenUpMessages] == before.sums[givenUpMessages] {
		b.result.breaks("nothing was counted as given up")
	}
	return nil
}

// checkGivenUp wants that the servers have counted what clients never read. A
// user whom several connections are due to is counted once by the servers, and
// one of whom another connection has heard as well.
func (b *books) checkGivenUp(e ledger.Entry) {
	b.say("%d deliveries were given up, of notifications for %d users by the servers' word", e.GivenUp, b.givenUp)
	if e.GivenUp > b.givenUp*mostDevices {
		b.result.breaks("%d deliveries were given up, and the servers counted %d users", e.GivenUp, b.givenUp)
	}
}

// mostDevices is how many connections a user has at most.
const mostDevices = 3

// figures are one reading of all servers' metrics.
type figures struct {
	sums      map[string]float64 // by name, and by name/reason
	processes map[string]float64 // when each started, by whose it is
}

func newFigures() figures {
	return figures{sums: make(map[string]float64), processes: make(map[string]float64)}
}

// read adds the metrics of one server.
func (f *figures) read(ctx context.Context, whose, base string) error {
	ctx, cancel := context.WithTimeout(ctx, scrapeTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, base+"/metrics", nil)
	if err != nil {
		return fmt.Errorf("read the metrics of %s: %w", whose, err)
	}
	resp, err := scraper.Do(req)
	if err != nil {
		return fmt.Errorf("%s does not tell its metrics: %w", whose, err)
	}
	defer resp.Body.Close()
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(resp.Body)
	if err != nil {
		return fmt.Errorf("read the metrics of %s: %w", whose, err)
	}
	for name, family := range families {
		f.add(whose, name, family)
	}
	return nil
}

// scraper keeps no connections: servers that are asked rarely may end between.
var scraper = &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}

func (f *figures) add(server, name string, family *dto.MetricFamily) {
	for _, m := range family.Metric {
		whose := server
		value := m.GetCounter().GetValue() + m.GetGauge().GetValue()
		f.sums[name] += value
		for _, label := range m.Label {
			switch label.GetName() {
			case "reason", "result":
				f.sums[name+"/"+label.GetValue()] += value
			case "worker":
				whose = strings.TrimPrefix(server+", worker "+label.GetValue(), theFront+", ")
			}
		}
		if name == startTime {
			f.processes[whose] = value
		}
	}
}

// compare says whether the books agree that were kept between two readings.
// read is how many messages clients have read, without replays.
func (f figures) compare(now figures, err error, read int64) string {
	if err == nil {
		err = f.comparable(now)
	}
	if err != nil {
		return unavailable + err.Error()
	}
	n := func(name string) int64 { return int64(now.sums[name] - f.sums[name]) }
	var off []string
	agree := func(what string, difference int64) {
		if difference != 0 {
			off = append(off, fmt.Sprintf("%s %d: %s", offBy, difference, what))
		}
	}
	agree(fmt.Sprintf("sent %d, taken by workers %d, taken back %d, given up %d, bytes retained %d",
		n(sentUsers), n(takenUsers), n(takenBack), n(givenUpUsers), int64(now.sums[retainedBytes])),
		// What was given up may have been taken, and the word of it lost.
		beyond(n(sentUsers)-n(takenUsers)-n(takenBack)-n(givenUpUsers), -n(givenUpUsers), 0))
	agree(fmt.Sprintf("missed by workers %d, given back %d, not given back %d", n(missedUsers), n(returnedUsers), n(returnsLost)),
		n(missedUsers)-n(returnedUsers)-n(returnsLost))
	lost := n(unreached) - n(givenUpReason)
	agree(fmt.Sprintf("given back %d, taken back %d, found again %d, not found %d", n(returnedUsers), n(takenBack), n(handedOver), lost),
		n(returnedUsers)+n(takenBack)-n(handedOver)-lost)
	agree(fmt.Sprintf("read by clients %d, written by workers %d", read, n(writtenOut)), max(0, read-n(writtenOut)))
	if len(off) > 0 {
		return strings.Join(off, "; ")
	}
	return balanced
}

// beyond is how far n is from what it may be.
func beyond(n, least, most int64) int64 { return n - min(max(n, least), most) }

// comparable says why two readings cannot be compared: a process has ended in
// between, or keeps no such books.
func (f figures) comparable(now figures) error {
	var ended []string
	for whose, started := range f.processes {
		if now.processes[whose] != started {
			ended = append(ended, whose)
		}
	}
	if slices.Sort(ended); len(ended) > 0 {
		return fmt.Errorf("%w: %s", errEnded, strings.Join(ended, ", "))
	}
	for _, name := range []string{sentUsers, takenUsers, missedUsers} {
		if _, known := now.sums[name]; !known {
			return fmt.Errorf("%w %s", errNoMetric, name)
		}
	}
	return nil
}

var (
	errEnded    = errors.New("processes have ended, and their books with them")
	errNoMetric = errors.New("there is no metric")
)
