package report

import (
	"regexp"
	"strings"

	"github.com/charmbracelet/x/ansi"
)

// The colours of what is printed, by what it says: without them every text says the same.
var (
	good   = ansi.NewStyle().ForegroundColor(ansi.Green)
	bad    = ansi.NewStyle().Bold().ForegroundColor(ansi.Red)
	unsure = ansi.NewStyle().ForegroundColor(ansi.Yellow)
	marked = ansi.NewStyle().Bold()
	quiet  = ansi.NewStyle().Faint()
	drawn  = ansi.NewStyle().ForegroundColor(ansi.Cyan)

	signs = map[string]ansi.Style{
		SignGood: good, SignBad: bad, SignUnsure: unsure, SignWarning: unsure, "▶": drawn,
	}

	painted = regexp.MustCompile(`\b(PASS|FAIL|UNDECIDED|suspect|invalid)\b|[▁▂▃▄▅▆▇█▏▎▍▌▋▊▉]+`)
	styles  = map[string]ansi.Style{
		"PASS": good, "FAIL": bad, "UNDECIDED": unsure, "suspect": unsure, "invalid": bad, "████": bad,
	}
	answer = regexp.MustCompile(`^(max rate at SLO +)(\S.*)`)
	titles = regexp.MustCompile(`^ *(stage|req/s) .*\b(outcome|errors)\b`)
)

// Paint colours a line of a screen for a terminal. It takes nothing away and adds nothing that is seen.
func Paint(line string) string {
	if titles.MatchString(line) || strings.HasPrefix(line, "Ctrl-C ") {
		return quiet.Styled(line)
	}
	begin := ""
	for sign, style := range signs {
		if rest, ok := strings.CutPrefix(line, sign+" "); ok {
			begin, line = style.Styled(sign)+" ", rest
			break
		}
	}
	if parts := answer.FindStringSubmatch(line); parts != nil && begin != "" {
		return begin + parts[1] + marked.Styled(parts[2])
	}
	return begin + painted.ReplaceAllStringFunc(line, func(text string) string {
		if style, ok := styles[text]; ok {
			return style.Styled(text)
		}
		return drawn.Styled(text)
	})
}
