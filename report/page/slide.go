package page

import (
	"fmt"
	"html"
	"image/color"
	"io"
	"math"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/image/font/gofont/gobold"
	"golang.org/x/image/font/gofont/goregular"
	"golang.org/x/image/font/opentype"
	"gonum.org/v1/plot/font"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/vgimg"

	"github.com/openloop/openloop/report"
)

// Slides are 16:9. Pictures of pixels have slideScale pixels for one of the drawing.
const (
	slideWidth  = 800
	slideHeight = 450
	slideScale  = 2
)

// slideColours are the colours of a drawing that stands alone: those of the light page.
var slideColours = map[colour]string{
	ink: "#1a1f26", quiet: "#5b6470", grid: "#e8ebef", low: "#4b8fc4", main: "#0b5fa5", high: "#7a4fa3",
	second: "#b5541c", third: "#3d7a55", ghost: "#8a929d", pass: "#00815b", fail: "#c4380f", open: "#8a6100",
	limit: "#8c1d40", shade: "#cfe6f7", surface: "#ffffff",
}

// slide is the main chart of a result: TTFT and TPOT against the rate, with the objectives and the interval.
func slide(r *report.Result) *chart {
	a := newAnswer(r)
	c := &chart{width: slideWidth, height: slideHeight}
	model := shortModel(r.Asked.Model)
	if e := r.Engine; e != nil && e.Name != "" {
		model = strings.TrimSpace(model + " on " + e.String())
	}
	c.title = strings.TrimSpace(fmt.Sprintf("%s: %s%s %s", a.Label, a.Sign, a.Figure, a.Unit))
	about := []string{a.Margin}
	if model != "" {
		about = append([]string{model}, about...)
	}
	if a.Trust != trusted {
		about = append(about, strings.ToLower(a.Verdict))
	}
	c.subtitle = strings.Join(about, " · ")
	c.x.label, c.y.label = string(r.Arriving())+"/s", "ms"
	var xs, ys []float64
	for _, of := range []struct {
		metric
		colour colour
	}{{ttft, main}, {tpot, second}} {
		key := counts(r, of.of)
		l := line{name: of.name + " " + key.String(), colour: of.colour, width: 2.6}
		value := func(s *report.Stage) point { return point{rateOf(s), float64(s.At(of.of, key))} }
		l.curve = curve(r, drawn(r), value)
		for _, i := range drawn(r) {
			v := value(&r.Stages[i])
			l.marks = append(l.marks, marked(r, i, v, of.name))
			xs, ys = append(xs, v.x), append(ys, v.y)
		}
		c.lines = append(c.lines, l)
		if o := objectiveOn(r, of.of); o != nil {
			c.rules = append(c.rules, rule{at: o.Bound / 1e6, text: objectiveText(*o), colour: of.colour})
			ys = append(ys, o.Bound/1e6)
		}
	}
	c.y.log = spread(ys)
	c.x.fit(append(xs, c.addRates(r, a)...))
	c.y.fit(ys)
	return c
}

// WriteSVG writes the main chart of a result as a drawing that stands alone.
func WriteSVG(w io.Writer, r *report.Result) error {
	c := slide(r)
	p := &svgPen{fixed: slideColours}
	fmt.Fprintf(&p.b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %[1]d %[2]d" width="%[1]d" height="%[2]d" `+
		`role="img" font-family="system-ui, 'Segoe UI', Roboto, Helvetica, Arial, sans-serif"><title>%[3]s</title>`,
		slideWidth, slideHeight, html.EscapeString(printable(c.title+" · "+c.subtitle)))
	p.rect(0, 0, slideWidth, slideHeight, style{fill: surface})
	c.draw(p)
	p.b.WriteString("</svg>\n")
	_, err := io.WriteString(w, p.b.String())
	return err
}

// printable leaves out what XML can't hold.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' && r != '\t' && r != '\n' || r == 0xfffe || r == 0xffff {
			return -1
		}
		return r
	}, strings.ToValidUTF8(s, "�"))
}

// WritePNG writes the main chart of a result in pixels.
func WritePNG(w io.Writer, r *report.Result) error {
	fonts, err := slideFonts()
	if err != nil {
		return err
	}
	canvas := vgimg.NewWith(vgimg.UseWH(vg.Length(slideWidth), vg.Length(slideHeight)), vgimg.UseDPI(72*slideScale))
	p := &pixelPen{canvas: canvas, fonts: fonts}
	slide(r).draw(p)
	_, err = vgimg.PngCanvas{Canvas: canvas}.WriteTo(w)
	return err
}

// The Go fonts come with golang.org/x/image: a machine that draws a slide need not have any.
const typeface = "Go"

var slideFonts = sync.OnceValues(func() (*font.Cache, error) {
	var all font.Collection
	for i, text := range [][]byte{goregular.TTF, gobold.TTF} {
		face, err := opentype.Parse(text)
		if err != nil {
			return nil, err
		}
		all = append(all, font.Face{Font: fontOf(i == 1), Face: face})
	}
	return font.NewCache(all), nil
})

func fontOf(bold bool) font.Font {
	f := font.Font{Typeface: typeface}
	if bold {
		f.Weight = 3 // as golang.org/x/image/font counts
	}
	return f
}

// pixelPen paints pixels. Its canvas has the origin at the bottom left, and lengths in points: one is one pixel of the
// drawing.
type pixelPen struct {
	canvas *vgimg.Canvas
	fonts  *font.Cache
}

func (p *pixelPen) place(at point) vg.Point {
	return vg.Point{X: vg.Length(at.x), Y: vg.Length(slideHeight - at.y)}
}

// paint is the colour of a name.
func paint(c colour, opacity float64) color.Color {
	v, _ := strconv.ParseUint(strings.TrimPrefix(slideColours[c], "#"), 16, 32)
	a := uint8(255)
	if opacity > 0 {
		a = uint8(255 * opacity)
	}
	return color.NRGBA{R: uint8(v >> 16), G: uint8(v >> 8), B: uint8(v), A: a}
}

func (p *pixelPen) apply(path vg.Path, s style) {
	if s.fill != "" {
		p.canvas.SetColor(paint(s.fill, s.opacity))
		p.canvas.Fill(path)
	}
	if s.width > 0 {
		p.canvas.SetColor(paint(s.stroke, s.opacity))
		p.canvas.SetLineWidth(vg.Length(s.width))
		var dash []vg.Length
		for _, d := range s.dash {
			dash = append(dash, vg.Length(d))
		}
		p.canvas.SetLineDash(dash, 0)
		p.canvas.Stroke(path)
	}
}

func (p *pixelPen) path(points []point, s style) {
	var path vg.Path
	for i, v := range points {
		if i == 0 {
			path.Move(p.place(v))
		} else {
			path.Line(p.place(v))
		}
	}
	p.apply(path, s)
}

func (p *pixelPen) rect(x, y, w, h float64, s style) {
	var path vg.Path
	path.Move(p.place(point{x, y}))
	path.Line(p.place(point{x + w, y}))
	path.Line(p.place(point{x + w, y + h}))
	path.Line(p.place(point{x, y + h}))
	path.Close()
	p.apply(path, s)
}

func (p *pixelPen) disc(at point, r float64, s style) {
	var path vg.Path
	center := p.place(at)
	path.Move(vg.Point{X: center.X + vg.Length(r), Y: center.Y})
	path.Arc(center, vg.Length(r), 0, 2*math.Pi)
	path.Close()
	p.apply(path, s)
}

func (p *pixelPen) face(size float64, bold bool) font.Face {
	return p.fonts.Lookup(fontOf(bold), vg.Length(size))
}

// shift is how far left of its place a text begins.
func shift(face font.Face, a anchor, text string) vg.Length {
	switch a {
	case middle:
		return face.Width(text) / 2
	case end:
		return face.Width(text)
	}
	return 0
}

func (p *pixelPen) text(at point, a anchor, size float64, bold bool, c colour, text string) {
	face := p.face(size, bold)
	to := p.place(at)
	to.X -= shift(face, a, text)
	p.canvas.SetColor(paint(c, 0))
	p.canvas.FillString(face, to, text)
}

func (p *pixelPen) upright(at point, a anchor, size float64, c colour, text string) {
	face := p.face(size, false)
	p.canvas.Push()
	p.canvas.Translate(p.place(at))
	p.canvas.Rotate(math.Pi / 2)
	p.canvas.SetColor(paint(c, 0))
	p.canvas.FillString(face, vg.Point{X: -shift(face, a, text)}, text)
	p.canvas.Pop()
}

func (p *pixelPen) group(*mark) {}

func (p *pixelPen) endGroup() {}
