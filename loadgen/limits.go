package loadgen

import "time"

// ErrorLimits applies the limits on errors, as GuideLLM 0.5.0's constraints define them: rates count once windowSize
// requests have ended.
type ErrorLimits struct {
	last      [windowSize]bool
	n         int // requests that ended
	failed    int // among last
	allFailed int
}

const windowSize = 30

// Add takes in a request that has ended, and says why the stage is to end for it; "" if it is not.
func (w *ErrorLimits) Add(failed bool, s *Stage) StopReason {
	at := w.n % windowSize
	if w.last[at] {
		w.failed--
	}
	w.last[at] = failed
	w.n++
	if failed {
		w.failed++
		w.allFailed++
	}
	switch {
	case s.MaxErrors > 0 && w.allFailed >= s.MaxErrors:
		return StopErrors
	case w.n < windowSize:
	case s.MaxErrorRate > 0 && float64(w.failed)/windowSize >= s.MaxErrorRate:
		return StopErrorRate
	case s.MaxGlobalErrorRate > 0 && float64(w.allFailed)/float64(w.n) >= s.MaxGlobalErrorRate:
		return StopGlobalErrorRate
	}
	return ""
}

// goneWatch notices that the server is gone: for goneAfter, all requests that ended had failed to connect, and there
// were at least goneCount of them. Going on would measure nothing.
type goneWatch struct {
	count int
	since int64
}

const (
	goneAfter = 3 * time.Second
	goneCount = 5
)

func (g *goneWatch) add(rec *Record) bool {
	if rec.Err != ErrConnect {
		g.count = 0
		return false
	}
	if g.count++; g.count == 1 {
		g.since = rec.End
	}
	return g.count >= goneCount && rec.End-g.since >= int64(goneAfter)
}
