package page

import (
	"math"
	"slices"

	"github.com/openloop/openloop/internal/num"
)

// A chart is drawn by a pen, which writes SVG or paints pixels. Lengths are in pixels of the drawing, with the origin
// at the top left.
type chart struct {
	width, height float64
	title         string // above the plot; "" for none
	subtitle      string
	x, y          axis
	bands         []band
	rules         []rule
	lines         []line
}

// axis is one axis of a chart.
type axis struct {
	label    string
	log      bool
	from, to float64
	ticks    []tick // nil: round numbers
}

type tick struct {
	at   float64
	text string
}

// band is a shaded range of x.
type band struct {
	from, to float64
	text     string
	open     bool // it has no end: drawn lighter
}

// rule is a line across the plot: at y, or at x where vertical is set.
type rule struct {
	at       float64
	vertical bool
	text     string
	colour   colour
}

// line is a curve with its points. Marks may be more than the vertices of the curve: those of stages at one rate.
type line struct {
	name   string
	colour colour
	width  float64
	dash   []float64
	curve  []point
	marks  []mark
	before bool // its label stands before its last point, and above it
}

type point struct{ x, y float64 }

// mark is a point that stands for a stage.
type mark struct {
	point
	shape  shape
	colour colour
	ringed bool   // the client was not valid
	tip    string // what is said of it
	stage  int    // its index; −1 for one that leads nowhere
}

// shape is the shape of a mark. Outcomes differ by shape and by colour.
type shape int

const (
	dot     shape = iota // not judged
	disc                 // PASS
	cross                // FAIL
	circle               // UNDECIDED
	diamond              // a closed loop
)

// colour is the name of a colour: a variable of the page's style sheet, light and dark, and fixed for slides.
type colour string

const (
	ink     colour = "ink"
	quiet   colour = "quiet" // axes, labels
	grid    colour = "grid"
	low     colour = "low"  // p50
	main    colour = "main" // the percentile that counts
	high    colour = "high" // p99
	second  colour = "second"
	third   colour = "third"
	ghost   colour = "ghost" // the base run
	pass    colour = "pass"
	fail    colour = "fail"
	open    colour = "open"
	limit   colour = "limit" // objectives
	shade   colour = "shade" // the interval
	surface colour = "surface"
)

// stroke and fill say how a pen draws; a zero width strokes nothing, an empty fill fills nothing.
type style struct {
	stroke  colour
	width   float64
	dash    []float64
	fill    colour
	opacity float64 // 0 stands for 1
}

// anchor is which part of a text stands at its place.
type anchor string

const (
	start  anchor = "start"
	middle anchor = "middle"
	end    anchor = "end"
)

// pen draws.
type pen interface {
	path(points []point, s style)
	rect(x, y, w, h float64, s style)
	disc(at point, r float64, s style)
	text(at point, a anchor, size float64, bold bool, c colour, text string)
	upright(at point, a anchor, size float64, c colour, text string) // written upwards
	group(m *mark)                                                   // what follows, until endGroup, is a mark
	endGroup()
}

// frame is where the plot of a chart stands, and how values become places in it.
type frame struct {
	c                        *chart
	left, top, right, bottom float64
}

func (c *chart) frame() frame {
	f := frame{c, 58, 24, c.width - 44, c.height - 44}
	if c.title != "" {
		f.top += 46
	}
	return f
}

func (a axis) place(v float64) float64 {
	if a.log {
		return math.Log(v/a.from) / math.Log(a.to/a.from)
	}
	return (v - a.from) / (a.to - a.from)
}

func (f frame) at(p point) point {
	return point{f.left + f.c.x.place(p.x)*(f.right-f.left), f.bottom - f.c.y.place(p.y)*(f.bottom-f.top)}
}

// shows says whether a value can be drawn on the axis.
func (a axis) shows(v float64) bool {
	return !math.IsNaN(v) && !math.IsInf(v, 0) && (!a.log || v > 0)
}

// fit sets the range of an axis so that it holds the values. A linear axis begins at zero.
func (a *axis) fit(values []float64) {
	lo, hi := math.Inf(1), math.Inf(-1)
	for _, v := range values {
		if a.shows(v) {
			lo, hi = min(lo, v), max(hi, v)
		}
	}
	switch {
	case lo > hi:
		a.from, a.to = 1, 10
	case a.log:
		a.from, a.to = lo/1.3, hi*1.4
	default:
		a.from, a.to = 0, max(hi*1.08, 1e-9)
	}
}

// spread says whether values differ by so much that only a logarithmic axis shows them all.
func spread(values []float64) bool {
	lo, hi := math.Inf(1), 0.0
	for _, v := range values {
		if v > 0 && !math.IsInf(v, 0) {
			lo, hi = min(lo, v), max(hi, v)
		}
	}
	return hi > 10*lo
}

// marksOf are the ticks of an axis: at most about most of them.
func (a axis) marksOf(most int) []tick {
	if a.ticks != nil {
		return a.ticks
	}
	var ticks []tick
	add := func(v float64) {
		if v >= a.from*(1-1e-9)-1e-12 && v <= a.to*(1+1e-9) {
			ticks = append(ticks, tick{v, shortNumber(v)})
		}
	}
	if !a.log {
		step := math.Pow(10, math.Floor(math.Log10((a.to-a.from)/float64(most))))
		for _, factor := range []float64{1, 2, 5, 10} {
			if (a.to-a.from)/(step*factor) <= float64(most) {
				step *= factor
				break
			}
		}
		for i := math.Ceil(a.from/step-1e-9) + 0; i*step <= a.to*(1+1e-9); i++ {
			add(i * step)
		}
		return ticks
	}
	steps := []float64{1, 2, 5}
	if decades := math.Log10(a.to / a.from); decades*3 > float64(most)+1 {
		steps = []float64{1}
	}
	for d := math.Floor(math.Log10(a.from)); d <= math.Ceil(math.Log10(a.to)); d++ {
		for _, s := range steps {
			add(s * math.Pow(10, d))
		}
	}
	return ticks
}

// shortNumber writes 150000 as 150k: there is little room beside an axis.
func shortNumber(v float64) string {
	if v >= 1e4 {
		return num.Exact(v/1e3) + "k"
	}
	return num.Exact(v)
}

// draw draws the chart.
func (c *chart) draw(p pen) {
	f := c.frame()
	if c.title != "" {
		p.text(point{f.left - 36, 27}, start, 19, true, ink, c.title)
		p.text(point{f.left - 36, 48}, start, 13, false, quiet, c.subtitle)
	}
	c.drawBands(p, f)
	c.drawAxes(p, f)
	c.drawRules(p, f)
	for i := range c.lines {
		c.drawCurve(p, f, &c.lines[i])
	}
	c.drawNames(p, f)
	for i := range c.lines {
		for k := range c.lines[i].marks {
			c.drawMark(p, f, &c.lines[i].marks[k])
		}
	}
}

func (c *chart) drawBands(p pen, f frame) {
	for _, b := range c.bands {
		from := f.at(point{max(b.from, c.x.from), c.y.from}).x
		to := f.at(point{min(b.to, c.x.to), c.y.from}).x
		s := style{fill: shade}
		if b.open {
			s.opacity = 0.45
		}
		// An interval too narrow to be seen is drawn two pixels wide.
		if to-from < 2 {
			from, to = (from+to)/2-1, (from+to)/2+1
		}
		p.rect(from, f.top, to-from, f.bottom-f.top, s)
		half := 3.3 * float64(len([]rune(b.text)))
		at := min(max((from+to)/2, f.left+half), c.width-half)
		p.text(point{at, f.top - 6}, middle, 12.5, true, ink, b.text)
	}
}

func (c *chart) drawAxes(p pen, f frame) {
	for _, t := range c.y.marksOf(6) {
		at := f.at(point{c.x.from, t.at})
		p.path([]point{{f.left, at.y}, {f.right, at.y}}, style{stroke: grid, width: 1})
		p.text(point{f.left - 6, at.y + 4}, end, 12.5, false, quiet, t.text)
	}
	for _, t := range c.x.marksOf(6) {
		at := f.at(point{t.at, c.y.from})
		p.path([]point{{at.x, f.bottom}, {at.x, f.bottom + 4}}, style{stroke: quiet, width: 1})
		p.text(point{at.x, f.bottom + 17}, middle, 12.5, false, quiet, t.text)
	}
	p.path([]point{{f.left, f.bottom}, {f.right, f.bottom}}, style{stroke: quiet, width: 1})
	p.text(point{(f.left + f.right) / 2, c.height - 6}, middle, 12.5, false, quiet, c.x.label)
	p.upright(point{12, (f.top + f.bottom) / 2}, middle, 12.5, quiet, c.y.label)
}

func (c *chart) drawRules(p pen, f frame) {
	for _, r := range c.rules {
		s := style{stroke: r.colour, width: 1.3, dash: []float64{5, 3}}
		if r.vertical {
			at := f.at(point{r.at, c.y.from})
			p.path([]point{{at.x, f.top}, {at.x, f.bottom}}, s)
			p.upright(point{at.x - 4, f.bottom - 5}, start, 12, r.colour, r.text)
			continue
		}
		at := f.at(point{c.x.from, r.at})
		p.path([]point{{f.left, at.y}, {f.right, at.y}}, s)
		p.text(point{f.left + 4, at.y - 4}, start, 12.5, true, r.colour, r.text)
	}
}

func (c *chart) drawCurve(p pen, f frame, l *line) {
	var piece []point
	flush := func() {
		if len(piece) > 1 {
			p.path(piece, style{stroke: l.colour, width: l.width, dash: l.dash})
		}
		piece = nil
	}
	for _, v := range l.curve {
		if !c.x.shows(v.x) || !c.y.shows(v.y) {
			flush()
			continue
		}
		piece = append(piece, f.at(v))
	}
	flush()
}

// drawNames writes the name of each curve beside its last point, and keeps the names apart.
func (c *chart) drawNames(p pen, f frame) {
	type name struct {
		at point
		l  *line
	}
	var names []name
	for i := range c.lines {
		l := &c.lines[i]
		for _, v := range slices.Backward(l.curve) {
			if c.x.shows(v.x) && c.y.shows(v.y) {
				names = append(names, name{f.at(v), l})
				break
			}
		}
	}
	slices.SortStableFunc(names, func(a, b name) int { return int(math.Copysign(1, a.at.y-b.at.y)) })
	for i := range names {
		if i > 0 && math.Abs(names[i].at.x-names[i-1].at.x) < 60 {
			names[i].at.y = max(names[i].at.y, names[i-1].at.y+14)
		}
	}
	for _, n := range names {
		if n.l.before {
			p.text(point{n.at.x - 6, n.at.y - 8}, end, 12.5, true, n.l.colour, n.l.name)
			continue
		}
		// What lies behind a name, such as an objective, does not strike it through.
		p.rect(n.at.x+6, n.at.y-6, 7.2*float64(len([]rune(n.l.name))), 12, style{fill: surface, opacity: 0.85})
		p.text(point{n.at.x + 8, n.at.y + 4}, start, 12.5, true, n.l.colour, n.l.name)
	}
}

func (c *chart) drawMark(p pen, f frame, m *mark) {
	if !c.x.shows(m.x) || !c.y.shows(m.y) {
		return
	}
	at := f.at(m.point)
	p.group(m)
	if m.ringed {
		p.disc(at, 8, style{stroke: limit, width: 1, dash: []float64{2, 2}})
	}
	switch m.shape {
	case disc:
		p.disc(at, 4.6, style{fill: m.colour, stroke: surface, width: 1})
	case circle:
		p.disc(at, 4.2, style{fill: surface, stroke: m.colour, width: 2})
	case cross:
		const r = 4.2
		for _, width := range []float64{4.6, 2.4} {
			s := style{stroke: m.colour, width: width}
			if width > 3 { // an edge, so that it stands out from the curve
				s.stroke = surface
			}
			p.path([]point{{at.x - r, at.y - r}, {at.x + r, at.y + r}}, s)
			p.path([]point{{at.x - r, at.y + r}, {at.x + r, at.y - r}}, s)
		}
	case diamond:
		const r = 4.6
		p.path([]point{{at.x, at.y - r}, {at.x + r, at.y}, {at.x, at.y + r}, {at.x - r, at.y}, {at.x, at.y - r}},
			style{stroke: m.colour, width: 1.6, fill: surface})
	default:
		p.disc(at, 3, style{fill: m.colour})
	}
	p.endGroup()
}
