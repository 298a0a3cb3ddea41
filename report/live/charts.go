package live

import (
	"math"
	"strings"
)

var (
	eighths = []rune(" ▏▎▍▌▋▊▉█") // of a cell, from the left
	levels  = []rune(" ▁▂▃▄▅▆▇█") // of a cell, from below
)

// bar is a share as a bar of at most width cells, padded to them. More than all is all.
func bar(share float64, width int) string {
	if !(share > 0) {
		return strings.Repeat(" ", width)
	}
	n := min(max(int(math.Round(share*float64(8*width))), 1), 8*width)
	text := strings.Repeat("█", n/8)
	if rest := n % 8; rest > 0 {
		text += string(eighths[rest])
	}
	return text + strings.Repeat(" ", width-(n+7)/8)
}

// highest is the largest of the values that are numbers; 0 of none.
func highest(values []float64) float64 {
	most := 0.0
	for _, v := range values {
		if !math.IsNaN(v) && !math.IsInf(v, 0) {
			most = max(most, v)
		}
	}
	return most
}

// sparkline is the last width values as one line, the largest of them at full height.
func sparkline(values []float64, width int) string {
	values = values[max(0, len(values)-width):]
	most := highest(values)
	var b strings.Builder
	for _, v := range values {
		b.WriteRune(cellOf(v, most, 1, 0))
	}
	return b.String()
}

// cellOf is the cell of a column in a chart of some rows, counted from below. A value that is there is seen.
func cellOf(v, most float64, rows, row int) rune {
	if math.IsNaN(v) || most <= 0 {
		return ' '
	}
	n := int(math.Round(min(v/most, 1) * float64(8*rows)))
	if row == 0 {
		n = max(n, 1)
	}
	return levels[min(max(n-8*row, 0), 8)]
}

// pane draws values over time: a title, rows of columns, all of one width. What does not fit in width is drawn as the
// means of equal parts.
func pane(title string, values []float64, width, rows int, format func(float64) string) []string {
	most := highest(values)
	label := len([]rune(format(most)))
	inner := width - label - 2
	if inner < 8 {
		return nil
	}
	shown := squeeze(values, inner)
	lines := []string{pad(title, width)}
	for row := rows - 1; row >= 0; row-- {
		text := strings.Repeat(" ", label)
		switch {
		case row == rows-1 && most > 0:
			text = format(most)
		case row == 0:
			text = strings.Repeat(" ", label-1) + "0"
		}
		var b strings.Builder
		for _, v := range shown {
			b.WriteRune(cellOf(v, most, rows, row))
		}
		lines = append(lines, pad(text+" │"+b.String(), width))
	}
	return lines
}

// squeeze takes the means of equal parts where there are more values than fit.
func squeeze(values []float64, most int) []float64 {
	if len(values) <= most {
		return values
	}
	squeezed := make([]float64, most)
	for i := range squeezed {
		sum, n := 0.0, 0
		for _, v := range values[i*len(values)/most : (i+1)*len(values)/most] {
			if !math.IsNaN(v) {
				sum, n = sum+v, n+1
			}
		}
		squeezed[i] = math.NaN()
		if n > 0 {
			squeezed[i] = sum / float64(n)
		}
	}
	return squeezed
}
