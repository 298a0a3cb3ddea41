package llmsim

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// FaultHeader is the request header that asks for a fault in the answer to that request, in the notation of
// [ParseFault].
const FaultHeader = "X-Llmsim-Fault"

// Fault is what goes wrong with a request, on demand. The zero value is none. Token positions count from 1: a fault at
// token k happens just before that token would be written.
type Fault struct {
	Status      int           // answer with this HTTP status, 400 to 599, and vLLM's error body, at once
	RetryAfter  time.Duration // with Status: a Retry-After header of so many seconds, rounded up
	SlowHeaders time.Duration // wait so long before reading the request into the engine: the headers come late as well
	StallAt     int           // before this token …
	Stall       time.Duration // … hold the output so long; the engine goes on, and what it made comes in one piece
	CutAt       int           // close the connection before this token
	GarbageAt   int           // write an event that is no JSON before this token
	ErrorAt     int           // write vLLM's error event instead of this token and end the stream, with status 200
}

// ParseFault reads a comma-separated list of
//
//	status=503            an HTTP error; with retry-after=2s also that header
//	slow-headers=1s       headers that come late
//	stall=2s@5            a pause before the 5th token
//	cut@7                 the connection closed before the 7th token
//	garbage@3             an event that is no JSON before the 3rd token
//	error@4               an error event instead of the 4th token, HTTP status 200
//
// The empty text and "none" are no fault.
func ParseFault(text string) (Fault, error) {
	var f Fault
	if strings.TrimSpace(text) == "" || strings.TrimSpace(text) == "none" {
		return f, nil
	}
	for part := range strings.SplitSeq(text, ",") {
		part = strings.TrimSpace(part)
		if err := f.parse(part); err != nil {
			return Fault{}, fmt.Errorf("fault %q: %w", part, err)
		}
	}
	if f.RetryAfter > 0 && f.Status == 0 {
		return Fault{}, fmt.Errorf("fault %q: retry-after needs a status, as in status=429,retry-after=2s", text)
	}
	return f, nil
}

func (f *Fault) parse(part string) (err error) {
	name, at, hasAt := strings.Cut(part, "@")
	name, value, hasValue := strings.Cut(name, "=")
	var position int
	if hasAt {
		if position, err = strconv.Atoi(at); err != nil || position < 1 {
			return fmt.Errorf("%q is not a token position from 1", at)
		}
	}
	duration := func() (time.Duration, error) {
		d, err := time.ParseDuration(value)
		if err != nil || d <= 0 || d > 24*time.Hour {
			return 0, fmt.Errorf("%q is not a positive duration such as 2s", value)
		}
		return d, nil
	}
	form := func(wantValue, wantAt bool, example string) error {
		if hasValue != wantValue || hasAt != wantAt {
			return fmt.Errorf("write it as %s", example)
		}
		return nil
	}
	switch name {
	case "status":
		if err := form(true, false, "status=503"); err != nil {
			return err
		}
		if f.Status, err = strconv.Atoi(value); err != nil || f.Status < 400 || f.Status > 599 {
			return fmt.Errorf("%q is not an HTTP status from 400 to 599", value)
		}
	case "retry-after":
		if err := form(true, false, "retry-after=2s"); err != nil {
			return err
		}
		f.RetryAfter, err = duration()
	case "slow-headers":
		if err := form(true, false, "slow-headers=1s"); err != nil {
			return err
		}
		f.SlowHeaders, err = duration()
	case "stall":
		if err := form(true, true, "stall=2s@5"); err != nil {
			return err
		}
		f.StallAt = position
		f.Stall, err = duration()
	case "cut":
		f.CutAt, err = position, form(false, true, "cut@7")
	case "garbage":
		f.GarbageAt, err = position, form(false, true, "garbage@3")
	case "error":
		f.ErrorAt, err = position, form(false, true, "error@4")
	default:
		return fmt.Errorf("unknown; known are status=N, retry-after=D, slow-headers=D, stall=D@K, cut@K, garbage@K " +
			"and error@K")
	}
	return err
}

// String writes the fault as [ParseFault] reads it; no fault is "none".
func (f Fault) String() string {
	var parts []string
	add := func(format string, args ...any) { parts = append(parts, fmt.Sprintf(format, args...)) }
	if f.Status != 0 {
		add("status=%d", f.Status)
	}
	if f.RetryAfter != 0 {
		add("retry-after=%v", f.RetryAfter)
	}
	if f.SlowHeaders != 0 {
		add("slow-headers=%v", f.SlowHeaders)
	}
	if f.StallAt != 0 {
		add("stall=%v@%d", f.Stall, f.StallAt)
	}
	if f.CutAt != 0 {
		add("cut@%d", f.CutAt)
	}
	if f.GarbageAt != 0 {
		add("garbage@%d", f.GarbageAt)
	}
	if f.ErrorAt != 0 {
		add("error@%d", f.ErrorAt)
	}
	if len(parts) == 0 {
		return "none"
	}
	return strings.Join(parts, ",")
}
