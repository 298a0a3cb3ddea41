package main

import (
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/openloop/openloop/report"
)

// startFailing puts a server in front of the engine at $URL that passes on so many requests for an answer and then
// refuses all further ones with a status, and sets $URL to it: failing N STATUS.
func startFailing(ts *testscript.TestScript, _ bool, args []string) {
	most, err := strconv.Atoi(args[0])
	ts.Check(err)
	status, err := strconv.Atoi(args[1])
	ts.Check(err)
	engine, err := url.Parse(ts.Getenv("URL"))
	ts.Check(err)
	proxy := httputil.NewSingleHostReverseProxy(engine)
	proxy.FlushInterval = -1
	var asked atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/completions") && asked.Add(1) > int64(most) {
			http.Error(w, `{"error":{"message":"overloaded"}}`, status)
			return
		}
		proxy.ServeHTTP(w, r)
	}))
	ts.Defer(server.Close)
	ts.Setenv("URL", server.URL)
}

// A run of which no request completed is a failure, and says of what, whatever its stages ended by.
func TestNothingSucceeded(t *testing.T) {
	stage := func(completed, errored, unfinished int, errors ...report.ErrorCount) report.Stage {
		return report.Stage{
			Requests: report.Requests{Completed: completed, Errored: errored, Unfinished: unfinished}, Errors: errors,
		}
	}
	refused := func(n int) report.ErrorCount { return report.ErrorCount{Kind: "connect", Text: "refused", Count: n} }
	status := func(n int) report.ErrorCount {
		return report.ErrorCount{Kind: "http status", Text: "HTTP 503", Count: n}
	}
	for _, c := range []struct {
		name   string
		stages []report.Stage
		want   string
	}{
		{"no stages", nil, ""},
		{"one success", []report.Stage{stage(0, 5, 0, refused(5)), stage(1, 5, 0, refused(5))}, ""},
		{"nothing sent", []report.Stage{stage(0, 0, 0)}, ""},
		{"unfinished alone", []report.Stage{stage(0, 0, 9)},
			"no request of the run completed: 9 were unfinished when their stage ended"},
		{"failed and unfinished", []report.Stage{stage(0, 1, 9, refused(1))}, "1 failed, 1 of them with: refused"},
		{"failed", []report.Stage{stage(0, 5, 0, refused(3), status(2)), stage(0, 5, 0, status(4), refused(1))},
			"no request of the run succeeded: 10 failed, 6 of them with: HTTP 503"},
	} {
		err := nothingSucceeded(&report.Result{Stages: c.stages})
		if (err == nil) != (c.want == "") || err != nil && !strings.HasSuffix(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
	}
}
