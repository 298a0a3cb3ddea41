package page

import (
	"fmt"
	"html"
	"strconv"
	"strings"
)

// svgPen writes SVG. Colours are variables of the page's style sheet, or fixed where the drawing stands alone.
type svgPen struct {
	b     strings.Builder
	fixed map[colour]string // nil: variables
}

// number writes a place to a tenth of a pixel.
func number(v float64) string {
	text := strconv.FormatFloat(v, 'f', 1, 64)
	return strings.TrimSuffix(text, ".0")
}

func (p *svgPen) colour(c colour) string {
	if p.fixed != nil {
		return p.fixed[c]
	}
	return "var(--" + string(c) + ")"
}

func (p *svgPen) style(s style) string {
	var b strings.Builder
	b.WriteString("fill:")
	if s.fill == "" {
		b.WriteString("none")
	} else {
		b.WriteString(p.colour(s.fill))
	}
	if s.width > 0 {
		fmt.Fprintf(&b, ";stroke:%s;stroke-width:%s", p.colour(s.stroke), number(s.width))
	}
	for i, d := range s.dash {
		if i == 0 {
			b.WriteString(";stroke-dasharray:")
		} else {
			b.WriteByte(' ')
		}
		b.WriteString(number(d))
	}
	if s.opacity > 0 {
		fmt.Fprintf(&b, ";opacity:%.2g", s.opacity)
	}
	return b.String()
}

func (p *svgPen) path(points []point, s style) {
	p.b.WriteString(`<path d="`)
	for i, v := range points {
		letter := "L"
		if i == 0 {
			letter = "M"
		}
		p.b.WriteString(letter + number(v.x) + " " + number(v.y))
	}
	fmt.Fprintf(&p.b, `" style="%s"/>`, p.style(s))
}

func (p *svgPen) rect(x, y, w, h float64, s style) {
	fmt.Fprintf(&p.b, `<rect x="%s" y="%s" width="%s" height="%s" style="%s"/>`,
		number(x), number(y), number(w), number(h), p.style(s))
}

func (p *svgPen) disc(at point, r float64, s style) {
	fmt.Fprintf(&p.b, `<circle cx="%s" cy="%s" r="%s" style="%s"/>`, number(at.x), number(at.y), number(r), p.style(s))
}

func (p *svgPen) text(at point, a anchor, size float64, bold bool, c colour, text string) {
	p.write(at, a, size, bold, c, text, "")
}

func (p *svgPen) upright(at point, a anchor, size float64, c colour, text string) {
	p.write(at, a, size, false, c, text,
		fmt.Sprintf(` transform="rotate(-90 %s %s)"`, number(at.x), number(at.y)))
}

func (p *svgPen) write(at point, a anchor, size float64, bold bool, c colour, text, turn string) {
	weight := ""
	if bold {
		weight = ";font-weight:600"
	}
	fmt.Fprintf(&p.b, `<text x="%s" y="%s" text-anchor="%s"%s style="font-size:%spx;fill:%s%s">%s</text>`,
		number(at.x), number(at.y), a, turn, number(size), p.colour(c), weight, html.EscapeString(printable(text)))
}

func (p *svgPen) group(m *mark) {
	p.b.WriteString(`<g class="pt"`)
	if m.stage >= 0 && p.fixed == nil {
		fmt.Fprintf(&p.b, ` data-stage="%d"`, m.stage)
	}
	fmt.Fprintf(&p.b, `><title>%s</title>`, html.EscapeString(printable(m.tip)))
}

func (p *svgPen) endGroup() { p.b.WriteString("</g>") }

// svg is a chart as an element of the page. It is hidden from screen readers, which are given a table instead.
func (c *chart) svg() string {
	p := &svgPen{}
	fmt.Fprintf(&p.b, `<svg class="chart" viewBox="0 0 %s %s" aria-hidden="true">`, number(c.width), number(c.height))
	c.draw(p)
	p.b.WriteString("</svg>")
	return p.b.String()
}
