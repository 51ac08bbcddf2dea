package rehearsal

import (
	"fmt"
	"math"
	"strconv"
	"time"

	"github.com/homing/homing/bench/report"
	"github.com/homing/homing/hub/fleet/scale"
)

// mostDecisions is how many decisions of a run a report lists.
const mostDecisions = 200

// Report sets runs of one trace side by side. static and perfect are what Bounds returns.
func Report(runs []*Run, trace Trace, static, perfect float64) *report.Report {
	r := &report.Report{
		Scenario: "fleet simulate",
		Setup: []report.Fact{
			{Name: "trace", Value: fmt.Sprintf("%s to %s, %d players at most", trace[0].At.Format(time.DateTime), trace[len(trace)-1].At.Format(time.DateTime), peak(trace))},
		},
		Headline: []string{"node_hours", "refused", "under_minimum_minutes", "most_nodes"},
		Charts:   charts(runs),
		Notes: []string{
			"Nodes and players are a model; the rules are the code that runs live.",
			"The static fleet has all day as many nodes as the peak needs. The perfect one has at any minute as many as that minute needs: it knows the future, and its nodes start at once.",
		},
	}
	compare := report.Table{Title: "Rules compared", Columns: []string{"", "node hours", "of static", "of perfect", "players refused", "minutes waited", "waiting at most", "minutes under the minimum", "taken away in use", "nodes at most", "fullest node", "steps out", "shortest apart", "steps in", "shortest apart"}}
	for _, run := range runs {
		compare.Rows = append(compare.Rows, []string{
			run.Name, number(run.NodeHours), share(run.NodeHours, static), share(run.NodeHours, perfect),
			strconv.Itoa(run.Refused), number(run.WaitedMinutes), strconv.Itoa(run.MostWaiting),
			number(run.UnderMinimum.Minutes()), strconv.Itoa(run.RemovedInUse), strconv.Itoa(run.MostNodes),
			fmt.Sprintf("%.0f%%", run.PeakLoad*100),
			strconv.Itoa(run.TurnsOut), apart(run.ShortestOut), strconv.Itoa(run.TurnsIn), apart(run.ShortestIn),
		})
	}
	compare.Rows = append(compare.Rows,
		[]string{"static fleet", number(static), "100%", share(static, perfect)},
		[]string{"perfect forecast", number(perfect), share(perfect, static), "100%"})
	r.Tables = append(r.Tables, compare)
	first := runs[0]
	r.Add("node_hours", first.NodeHours, "hours that nodes of the first rules were paid for")
	r.Add("static_node_hours", static, "of a static fleet")
	r.Add("perfect_node_hours", perfect, "of a perfect forecast")
	r.Add("refused", float64(first.Refused), "players who waited for too long")
	r.Add("waited_minutes", first.WaitedMinutes, "that players waited, all together")
	r.Add("under_minimum_minutes", first.UnderMinimum.Minutes(), "with fewer nodes ready than the minimum")
	r.Add("removed_in_use", float64(first.RemovedInUse), "nodes taken away with players on them")
	r.Add("most_nodes", float64(first.MostNodes), "at one time")
	return r
}

func charts(runs []*Run) []report.Chart {
	players := report.Chart{Title: "Players", XLabel: "hour", YLabel: "players"}
	nodes := report.Chart{Title: "Nodes, ready and starting", XLabel: "hour", YLabel: "nodes"}
	refused := report.Chart{Title: "Players who wait or were refused in that minute", XLabel: "hour", YLabel: "players"}
	for i, run := range runs {
		start := run.Points[0].At
		series := func(name string, value func(p *Point) int) report.Series {
			s := report.Series{Name: name}
			for j := range run.Points {
				p := &run.Points[j]
				s.X = append(s.X, p.At.Sub(start).Hours())
				s.Y = append(s.Y, float64(value(p)))
			}
			return s
		}
		if i == 0 {
			players.Series = append(players.Series, series("who want to play", func(p *Point) int { return p.Wanted }))
		}
		players.Series = append(players.Series, series(run.Name, func(p *Point) int { return p.Playing }))
		nodes.Series = append(nodes.Series, series(run.Name, func(p *Point) int { return p.Ready + p.Starting + p.Leaving }))
		refused.Series = append(refused.Series, series(run.Name, func(p *Point) int { return p.Waiting + p.Refused }))
	}
	return []report.Chart{players, nodes, refused}
}

// Decisions lists what was decided in a run, and why.
func Decisions(run *Run) report.Table {
	t := report.Table{Title: "Decisions of " + run.Name, Columns: []string{"at", "what", "why"}}
	for i := range run.Decisions {
		if i == mostDecisions {
			t.Rows = append(t.Rows, []string{"", "", fmt.Sprintf("and %d more", len(run.Decisions)-i)})
			break
		}
		d := &run.Decisions[i]
		t.Rows = append(t.Rows, []string{d.At.Format(time.TimeOnly), Words(d), d.Why})
	}
	return t
}

// Words is what a decision asks for, in a word or two.
func Words(d *scale.Decision) string {
	switch {
	case d.Node != "":
		return string(d.Action) + " " + d.Node
	case d.Nodes > 0:
		return fmt.Sprintf("%s %d", d.Action, d.Nodes)
	}
	return string(d.Action)
}

func peak(t Trace) (players int) {
	for i := range t {
		players = max(players, t[i].Players)
	}
	return players
}

func number(v float64) string { return strconv.FormatFloat(v, 'f', 1, 64) }

func share(v, of float64) string { return fmt.Sprintf("%.0f%%", v/of*100) }

func apart(d time.Duration) string {
	if d == math.MaxInt64 {
		return "-"
	}
	return d.String()
}
