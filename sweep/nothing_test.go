package sweep

import (
	"strings"
	"testing"

	"github.com/openloop/openloop/loadgen"
)

// A stage that brought nothing is an error, which names what went wrong most often.
func TestNothingSucceeded(t *testing.T) {
	done := loadgen.Record{Status: loadgen.Completed}
	generating := loadgen.Record{Status: loadgen.Incomplete, TokenEvents: 1}
	silent := loadgen.Record{Status: loadgen.Incomplete}
	refused := loadgen.Record{Status: loadgen.Errored, Err: loadgen.ErrConnect}
	status := loadgen.Record{Status: loadgen.Errored, Err: loadgen.ErrStatus}
	for _, c := range []struct {
		name    string
		records []loadgen.Record
		details []string
		want    string // "" for a stage that is a result
	}{
		{"one completed", []loadgen.Record{refused, done, silent}, nil, ""},
		{"one was generating", []loadgen.Record{refused, generating}, nil, ""},
		{"no requests", nil, nil, "0 requests, 0 errors)"},
		{"without a token", []loadgen.Record{silent, silent}, nil, "2 requests, 0 errors)"},
		{"failed", []loadgen.Record{refused, status, status}, nil, "3 requests, 3 errors): http status"},
		{"failed, with words", []loadgen.Record{refused, status, status}, []string{"refused", "HTTP 503", "HTTP 503"},
			"3 requests, 3 errors): HTTP 503"},
	} {
		load := loadgen.Load{Kind: loadgen.ConstantGap, Rate: 1}
		l := &Stage{Load: load, Measured: &loadgen.Measured{Records: c.records}}
		for _, text := range c.details {
			l.Details = append(l.Details, loadgen.Detail{Error: text})
		}
		err := nothingSucceeded(l)
		if (err == nil) != (c.want == "") || err != nil && !strings.HasSuffix(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
	}
}
