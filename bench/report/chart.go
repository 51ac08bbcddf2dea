package report

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"unicode/utf8"
)

// chartView is a chart as the template shows it.
type chartView struct {
	Chart
	ID       string
	About    string // for those who do not see it
	Drawings []drawing
}

// drawing is one size of a chart, in pixels from the top left.
type drawing struct {
	ID, Class                string
	Width, Height            px
	Left, Right, Top, Bottom px // of the field
	X, Y                     []mark
	Lines                    []line
}

// mark is a line of the grid; minor ones have no label.
type mark struct {
	At    px
	Label string
}

// line is one series.
type line struct {
	Path string
	Dots []dot
	Few  bool // the dots are worth seeing
}

// dot tells of one point.
type dot struct {
	X, Y px
	Text string
}

// px is a distance; a tenth of a pixel is as fine as anyone sees.
type px float64

func (p px) String() string { return strconv.FormatFloat(math.Round(float64(p)*10)/10, 'f', -1, 64) }

// size is what a drawing is made for.
type size struct {
	class         string
	width, height px
}

// sizes are drawn both, for letters do not shrink with a screen.
var sizes = []size{{"wide", 560, 320}, {"narrow", 350, 260}}

const (
	letter    = px(6.7) // width of one, on average
	fewPoints = 30
	hovers    = 80   // points of a line that tell their value, about
	mostDrawn = 1000 // points of a line
)

// view draws the chart, the n-th of its page. One with nothing to draw has no
// drawings.
func (c Chart) view(n int) chartView {
	v := chartView{Chart: c, ID: fmt.Sprintf("chart%d", n+1), About: c.about()}
	x, y := c.extent(true), c.extent(false)
	if x.empty() || y.empty() {
		return v
	}
	for _, s := range sizes {
		v.Drawings = append(v.Drawings, c.draw(v.ID, s, x, y))
	}
	return v
}

// extent is the range of what can be drawn, on one axis.
func (c Chart) extent(ofX bool) extent {
	e := extent{math.Inf(1), math.Inf(-1)}
	for _, s := range c.Series {
		for i := range s.X {
			if c.drawable(s.X[i], s.Y[i]) && ofX {
				e.add(s.X[i])
			} else if c.drawable(s.X[i], s.Y[i]) {
				e.add(s.Y[i])
			}
		}
	}
	return e
}

// drawable reports whether a point has a place.
func (c Chart) drawable(x, y float64) bool {
	finite := !math.IsNaN(x+y) && !math.IsInf(x+y, 0)
	return finite && (!c.LogX || x > 0) && (!c.LogY || y > 0)
}

func (c Chart) draw(id string, s size, ex, ey extent) drawing {
	rows := int(s.height / 50)
	y := newAxis(ey.fit(c.LogY, rows), c.LogY, rows)
	d := drawing{ID: id + "-" + s.class, Class: s.class, Width: s.width, Height: s.height, Top: 28, Bottom: s.height - 44}
	d.Left, d.Right = 10+letter*px(y.longest()), s.width-16
	x := newAxis(ex, c.LogX, int((d.Right-d.Left)/45))
	if len(c.XTicks) > 0 {
		x.name(c.XTicks)
	}
	for _, t := range x.ticks {
		d.X = append(d.X, mark{d.atX(x, t.At), t.Label})
	}
	d.X = spread(d.X)
	for _, t := range y.ticks {
		d.Y = append(d.Y, mark{d.atY(y, t.At), t.Label})
	}
	for _, series := range c.Series {
		d.Lines = append(d.Lines, c.line(d, series.thin(mostDrawn), x, y))
	}
	return d
}

func (d drawing) atX(x axis, v float64) px { return d.Left + px(x.scale.Map(v))*(d.Right-d.Left) }
func (d drawing) atY(y axis, v float64) px { return d.Bottom - px(y.scale.Map(v))*(d.Bottom-d.Top) }

// spread takes away the labels that would touch the one before.
func spread(marks []mark) []mark {
	end := px(math.Inf(-1))
	for i, m := range marks {
		half := letter * px(utf8.RuneCountInString(m.Label)) / 2
		if m.Label == "" {
			continue
		}
		if m.At-half < end+letter {
			marks[i].Label = ""
			continue
		}
		end = m.At + half
	}
	return marks
}

// line draws one series; where a point has no place the line is broken.
func (c Chart) line(d drawing, s Series, x, y axis) line {
	var path strings.Builder
	l := line{Few: len(s.X) <= fewPoints}
	step, pen := len(s.X)/hovers+1, "M"
	for i := range s.X {
		if !c.drawable(s.X[i], s.Y[i]) {
			pen = "M"
			continue
		}
		at := dot{X: d.atX(x, s.X[i]), Y: d.atY(y, s.Y[i])}
		fmt.Fprintf(&path, "%s%v %v", pen, at.X, at.Y)
		pen = "L"
		if i%step == 0 || i == len(s.X)-1 {
			at.Text = fmt.Sprintf("%s\n%s %s\n%s: %s", s.Name, grouped(number(s.Y[i])), c.YLabel, c.XLabel, c.textX(s.X[i]))
			l.Dots = append(l.Dots, at)
		}
	}
	l.Path = path.String()
	return l
}

func (c Chart) textX(x float64) string {
	if c.nameX != nil {
		return c.nameX(x)
	}
	return grouped(number(x))
}

// about tells what the lines do.
func (c Chart) about() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s over %s.", c.YLabel, c.XLabel)
	for _, s := range c.Series {
		e := extent{math.Inf(1), math.Inf(-1)}
		for i := range s.Y {
			if c.drawable(s.X[i], s.Y[i]) {
				e.add(s.Y[i])
			}
		}
		if !e.empty() {
			fmt.Fprintf(&b, " %s: %s to %s.", s.Name, grouped(number(e.low)), grouped(number(e.high)))
		}
	}
	return b.String()
}

// thin keeps the highest and the lowest point of each run, so that at most
// about as many as said remain.
func (s Series) thin(most int) Series {
	if len(s.X) <= most {
		return s
	}
	out, run := Series{Name: s.Name}, (2*len(s.X)+most-1)/most
	for start := 0; start < len(s.X); start += run {
		low, high := start, start
		for i := start; i < min(start+run, len(s.X)); i++ {
			if s.Y[i] < s.Y[low] {
				low = i
			}
			if s.Y[i] > s.Y[high] {
				high = i
			}
		}
		first, last := min(low, high), max(low, high)
		out.X, out.Y = append(out.X, s.X[first]), append(out.Y, s.Y[first])
		if last > first {
			out.X, out.Y = append(out.X, s.X[last]), append(out.Y, s.Y[last])
		}
	}
	return out
}
