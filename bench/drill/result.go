package drill

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/homing/homing/bench/ledger"
)

// What a scenario's Promise may be.
const (
	Kept   = "kept"
	Broken = "broken"
)

// Result is one scenario's outcome. Accepted, Written and Lost count
// deliveries: an accepted notification once for each connection that its user
// held throughout.
type Result struct {
	Scenario string `json:"scenario"`
	Skipped  bool   `json:"skipped"`
	Reason   string `json:"reason,omitempty"` // why it was skipped

	Accepted       int    `json:"accepted"`
	Written        int    `json:"written"`
	Lost           int    `json:"lost"`
	Duplicated     int    `json:"duplicated"`
	Reordered      int    `json:"reordered"`
	Misdelivered   int    `json:"misdelivered"`
	Stored         int    `json:"stored"`      // accepted to be kept, once for each device that came back for it
	StoredLost     int    `json:"stored_lost"` // of those, never found again
	ToldWrong      int    `json:"told_wrong"`  // what answers said of targets and was not so
	Excused        int    `json:"excused"`     // lost where a bounded loss is documented, and told
	Books          string `json:"books"`       // "balance", "off by …", "not available: …": do the servers' own metrics agree
	FailedConnects int    `json:"failed_connects"`
	IDRefusedMS    int64  `json:"id_refused_ms"`  // the longest that one with an id was not accepted though it was repeated
	LongestGapMS   int64  `json:"longest_gap_ms"` // between one API server and one worker
	P50MS          int64  `json:"p50_ms"`         // of what was heard on connections that were there, since it was due
	P99MS          int64  `json:"p99_ms"`
	Promise        string `json:"promise"`

	// HarnessStallMS is how long this program itself was not run by the machine
	// at the worst: gaps no longer than this may not be the system's.
	HarnessStallMS int64 `json:"harness_stall_ms"`

	Connections   int `json:"connections"`
	Notifications int `json:"notifications"` // accepted
	Owed          int `json:"owed"`          // deliveries accepted for users whose connection was gone or ending
	Away          int `json:"away"`          // accepted, by the API's word, for nobody: the user was between two connections; not promised
	HandedOver    int `json:"handed_over"`   // arrivals on a connection made after the notification was sent
	Refused       int `json:"refused"`       // answered with an error
	Unanswered    int `json:"unanswered"`

	ToldOffline     int `json:"told_offline"`      // of the lost, those for users of whom the answer said that they were offline
	ToldOfflineAway int `json:"told_offline_away"` // users told offline while their connection was out of reach, or just before they noticed its end
	ToldUnknown     int `json:"told_unknown"`      // targets of whom a report said that it does not know
	Unavailable     int `json:"unavailable"`       // users of whom the answer said that nothing was sent to them
	GivenUp         int `json:"given_up"`          // deliveries lost where nothing was carried for longer than the relay's window
	Repeated        int `json:"repeated"`          // arrivals beyond the first of what its caller sent more than once
	Replayed        int `json:"replayed"`          // arrivals by a resume of what had arrived before on the connection

	StoredReordered   int `json:"stored_reordered"`   // of what was stored, given after a later one of the same sender
	Resumes           int `json:"resumes"`            // that were answered
	RecoveredWrong    int `json:"recovered_wrong"`    // of those, said recovered, and something was missing
	RecoveredNeedless int `json:"recovered_needless"` // of those, said not recovered, and nothing was missing

	ComeAndGo *ComeAndGo `json:"come_and_go,omitempty"`

	// Instants after the fault, in milliseconds; absent when they do not apply.
	LostFromMS      *int64 `json:"lost_from_ms,omitempty"`
	LostUntilMS     *int64 `json:"lost_until_ms,omitempty"`
	RecoveredMS     *int64 `json:"recovered_ms,omitempty"`      // clients are connected, or can connect, again
	OfflineWithinMS *int64 `json:"offline_within_ms,omitempty"` // users of a dead worker count as offline
	RepairedMS      *int64 `json:"repaired_ms,omitempty"`       // the index is right again
	SweptMS         *int64 `json:"swept_ms,omitempty"`          // the index names the dead worker no more
	Ghosts          *int   `json:"ghosts,omitempty"`            // index entries of dead processes or absent users, at the end

	SlowClosed *int `json:"slow_closed,omitempty"` // connections closed with 4008 because their clients did not read

	Rooms  *Rooms  `json:"rooms,omitempty"`  // of a scenario with game rooms
	Polls  *Polls  `json:"polls,omitempty"`  // of a scenario whose clients poll
	Topics *Topics `json:"topics,omitempty"` // of a scenario with members of topics

	Broke []string `json:"broke,omitempty"` // what else was promised and not kept
}

// Rooms is what else is known of players in game rooms. There, Accepted and Written
// count what one player said and another was to hear, and heard.
type Rooms struct {
	TakenOver int `json:"taken_over"` // rooms that went on under another owner
	Unheard   int `json:"unheard"`    // messages that nobody has heard: they were on a connection that was lost
	Rejoins   int `json:"rejoins"`    // connections beyond a player's first
	TwoOwners int `json:"two_owners"` // rooms of which frames of two owners were read at a time
	Unwhole   int `json:"unwhole"`    // connections that were told that events are missing
	Backward  int `json:"backward"`   // frames of an earlier tick than one read before
	Refused   int `json:"refused"`    // messages
}

// stalled is a stall of the harness worth a word.
const stalled = 200 * time.Millisecond

func ms(d time.Duration) *int64 {
	v := d.Milliseconds()
	return &v
}

// settle takes the ledger's entry over.
func (r *Result) settle(e ledger.Entry, fault time.Time) {
	r.Accepted, r.Written, r.Lost = e.Accepted, e.Written, e.Lost
	r.Duplicated, r.Reordered, r.Misdelivered = e.Duplicated, e.Reordered, e.Misdelivered
	r.Owed, r.Away, r.HandedOver = e.Owed, e.Away, e.HandedOver
	r.Notifications, r.Refused, r.Unanswered = e.Notifications, e.Refused, e.Unanswered
	r.Stored, r.StoredLost, r.StoredReordered = e.Stored, e.StoredLost, e.StoredReordered
	r.Resumes, r.RecoveredWrong, r.RecoveredNeedless = e.Resumes, e.RecoveredWrong, e.RecoveredNeedless
	r.ToldWrong, r.ToldOffline, r.ToldOfflineAway, r.ToldUnknown = e.ToldWrong, e.ToldOffline, e.ToldOfflineAway, e.ToldUnknown
	r.GivenUp = e.GivenUp
	r.Excused, r.Unavailable, r.Repeated, r.Replayed = e.Excused, e.Unavailable, e.Repeated, e.Replayed
	r.LongestGapMS, r.P50MS, r.P99MS = e.LongestGap.Milliseconds(), e.P50.Milliseconds(), e.P99.Milliseconds()
	if e.Lost > 0 && !fault.IsZero() {
		r.LostFromMS, r.LostUntilMS = ms(e.LostFrom.Sub(fault)), ms(e.LostLast.Sub(fault))
	}
	r.Promise = Kept
	if !e.Clean() || len(r.Broke) > 0 {
		r.Promise = Broken
	}
}

// maxBroke is how many broken promises are told in words.
const maxBroke = 10

// breaks records a promise that was not kept.
func (r *Result) breaks(format string, args ...any) {
	if len(r.Broke) < maxBroke {
		r.Broke = append(r.Broke, fmt.Sprintf(format, args...))
	}
}

func writeTable(results []*Result, w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "scenario\taccepted\twritten\tlost\tduplicated\treordered\tmisdelivered\tstored\tstored lost\ttold wrong\tfailed connects\tlongest gap\tbooks\tpromise\t")
	for _, r := range results {
		if r.Skipped {
			fmt.Fprintf(t, "%s\t\t\t\t\t\t\t\t\t\t\t\t\tskipped\t\n", r.Scenario) // notes say why
			continue
		}
		books, _, _ := strings.Cut(r.Books, ":") // notes say why
		fmt.Fprintf(t, "%s\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%d ms\t%s\t%s\t\n", r.Scenario, r.Accepted, r.Written, r.Lost,
			r.Duplicated, r.Reordered, r.Misdelivered, r.Stored, r.StoredLost, r.ToldWrong, r.FailedConnects, r.LongestGapMS, books, r.Promise)
	}
	if err := t.Flush(); err != nil {
		return fmt.Errorf("print results: %w", err)
	}
	for _, r := range results {
		if notes := r.notes(); notes != "" {
			fmt.Fprintf(w, "%s: %s\n", r.Scenario, notes)
		}
	}
	return nil
}

// number is one figure for the notes.
type number struct {
	count int
	what  string
}

// numbers are figures that deserve a note when they are not zero.
func (r *Result) numbers() []number {
	return []number{
		{r.ToldOffline, "of the lost told as offline"},
		{r.ToldOfflineAway, "told as offline on connections that were sent away, or had just ended"},
		{r.ToldUnknown, "told as unknown"},
		{r.Excused, "lost where that is documented, and told"},
		{r.GivenUp, "given up"},
		{r.Unavailable, "told as unavailable"},
		{r.Repeated, "arrived again because they had been sent again"},
		{r.StoredReordered, "stored notifications out of order"},
		{r.RecoveredWrong, "resumes said recovered and something was missing"},
		{r.RecoveredNeedless, "resumes said not recovered and nothing was missing"},
	}
}

// instant is when something happened, for the notes.
type instant struct {
	format string
	at     *int64 // in milliseconds after the fault; nil: it did not
}

// instants are told in this order.
func (r *Result) instants() []instant {
	return []instant{
		{"lost from %d ms after the fault", r.LostFromMS},
		{"until %d ms", r.LostUntilMS},
		{"users of the dead worker offline after %d ms", r.OfflineWithinMS},
		{"connected again after %d ms", r.RecoveredMS},
		{"index repaired after %d ms", r.RepairedMS},
		{"index clean after %d ms", r.SweptMS},
	}
}

// notes says in words what has no column.
func (r *Result) notes() string {
	notes := slices.Concat(r.deliveryNotes(), r.otherNotes(), r.Broke)
	return strings.Join(notes, "; ")
}

// deliveryNotes are about deliveries, and why there are none.
func (r *Result) deliveryNotes() (notes []string) {
	if r.Reason != "" {
		notes = append(notes, "skipped: "+r.Reason)
	}
	if r.Owed > 0 {
		notes = append(notes, fmt.Sprintf("%d deliveries were owed to users whose connection was gone or ending", r.Owed))
	}
	if r.P99MS > 0 {
		notes = append(notes, fmt.Sprintf("heard after %d ms (p50), %d ms (p99)", r.P50MS, r.P99MS))
	}
	if r.SlowClosed != nil {
		notes = append(notes, fmt.Sprintf("%d slow connections closed with 4008", *r.SlowClosed))
	}
	if r.Refused+r.Unanswered > 0 {
		notes = append(notes, fmt.Sprintf("%d notifications refused, %d unanswered", r.Refused, r.Unanswered))
	}
	if r.HandedOver > 0 {
		notes = append(notes, fmt.Sprintf("%d deliveries handed over to later connections", r.HandedOver))
	}
	if r.Away > 0 {
		notes = append(notes, fmt.Sprintf("%d not delivered to users who were between two connections", r.Away))
	}
	for _, n := range r.numbers() {
		if n.count > 0 {
			notes = append(notes, fmt.Sprintf("%d %s", n.count, n.what))
		}
	}
	return notes
}

// otherNotes are about refusals, the servers' books, when things happened, and
// the machine.
func (r *Result) otherNotes() (notes []string) {
	if r.IDRefusedMS > 0 {
		notes = append(notes, fmt.Sprintf("with an id one was refused for %d ms", r.IDRefusedMS))
	}
	if strings.HasPrefix(r.Books, unavailable) {
		notes = append(notes, "books "+r.Books)
	}
	for _, i := range r.instants() {
		if i.at != nil {
			notes = append(notes, fmt.Sprintf(i.format, *i.at))
		}
	}
	if r.HarnessStallMS > stalled.Milliseconds() {
		notes = append(notes, fmt.Sprintf("the machine stalled for up to %d ms meanwhile", r.HarnessStallMS))
	}
	if r.Ghosts != nil && *r.Ghosts > 0 {
		notes = append(notes, fmt.Sprintf("%d ghosts in the index", *r.Ghosts))
	}
	return notes
}
