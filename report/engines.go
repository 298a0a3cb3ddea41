package report

import (
	"fmt"
	"strings"

	"github.com/openloop/openloop/internal/num"
	"github.com/openloop/openloop/sweep/enginemetrics"
)

// EngineText says what serves the endpoint, for people: each engine by its name where they are not the same. It is
// empty where that is not known.
func (r *Result) EngineText() string {
	var named []string
	kinds := map[string]bool{}
	for _, e := range r.Engines {
		if text := e.Engine.String(); text != "" {
			named = append(named, e.Name+" "+text)
			kinds[text] = true
		}
	}
	if len(kinds) < 2 {
		return r.Engine.String()
	}
	return strings.Join(named, ", ")
}

// info is what is known of the engine of a name; nil for nothing.
func (r *Result) info(name string) *enginemetrics.Info {
	for _, e := range r.Engines {
		if e.Name == name {
			return e.Engine
		}
	}
	return nil
}

// EngineHead are the columns of EngineRows, behind the engine's name.
func EngineHead() []string {
	return []string{"running", "waiting", "max", "KV max", "hits", "preempted", "TTFT p95"}
}

// EngineRows are the engines of a stage for people, and all of them together behind them; nil where they have no names.
// They begin with the engine's name.
func (s *Stage) EngineRows() (rows [][]string) {
	for _, e := range s.Engines {
		rows = append(rows, engineRow(e.Name, e.Metrics))
	}
	if len(s.Engines) > 1 {
		rows = append(rows, engineRow("(all)", s.Engine))
	}
	return rows
}

func engineRow(name string, w *enginemetrics.Window) []string {
	figure := func(v num.Value, factor float64, unit string) string {
		if v.IsAbsent() {
			return "–"
		}
		return num.Three(factor*float64(v)) + unit
	}
	preempted := "–"
	if !w.Preemptions.IsAbsent() {
		preempted = num.Thousands(int(w.Preemptions))
	}
	return []string{name, figure(w.Running.Mean, 1, ""), figure(w.Waiting.Mean, 1, ""), figure(w.Waiting.Max, 1, ""),
		figure(w.KVUsage.Max, 100, " %"), figure(w.HitShare, 100, " %"), preempted,
		figure(w.TTFT.P95, 1e3, "")}
}

// EngineNotes says what EngineRows do not hold: which engine could not be read, and why some figures of all of them are
// not there.
func (s *Stage) EngineNotes() (notes []string) {
	if len(s.Engines) < 2 {
		return nil
	}
	for _, e := range s.Engines {
		if w := e.Metrics; w.Errors > 0 {
			notes = append(notes, fmt.Sprintf("%s did not answer %s: %s", e.Name, times(w.Errors), w.Error))
		}
	}
	if text := s.Engine.NotMerged; text != "" {
		notes = append(notes, "no TTFT of all engines: "+text)
	}
	return notes
}

// engineRows are the EngineRows of some stages, each behind the name of its stage, and their notes.
func (r *Result) engineRows(stages []int) (rows [][]string, notes []string) {
	for _, i := range stages {
		s := &r.Stages[i]
		name := s.Name
		for _, row := range s.EngineRows() {
			rows = append(rows, append([]string{name}, row...))
			name = ""
		}
		for _, note := range s.EngineNotes() {
			notes = append(notes, s.Name+": "+note)
		}
	}
	return rows, notes
}

// engineWords explain the columns of EngineHead.
const engineWords = "as the engines count: requests running and waiting, hits of prompt tokens in the prefix cache, " +
	"TTFT in ms"

// writeEngines writes the table of engines.
func (r *Result) writeEngines(b *strings.Builder, wide bool) {
	stages := r.groupStages()
	if wide {
		stages = r.allStages()
	}
	lines, notes := r.engineRows(stages)
	if len(lines) == 0 {
		return
	}
	rows := [][]string{append([]string{"  stage", "engine"}, EngineHead()...)}
	for _, row := range lines {
		rows = append(rows, append([]string{"  " + row[0]}, row[1:]...))
	}
	b.WriteByte('\n')
	writeTable(b, rows)
	b.WriteByte('\n')
	wrap(b, "  ", "  ", engineWords)
	if n := len(r.Stages) - len(stages); n > 0 {
		fmt.Fprintf(b, "  and of %d further stages: --wide, and in the report\n", n)
	}
	for _, text := range notes {
		wrap(b, "  ", "    ", text)
	}
}
