package main

import (
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"
)

// startMoved starts a server before that of $URL, and sets $FRONT: below /new it passes on, all else it redirects with
// a status to a place, in which PATH stands for the path that was asked for. Where a third argument is given, that path
// alone is redirected.
func startMoved(ts *testscript.TestScript, _ bool, args []string) {
	behind, err := url.Parse(ts.Getenv("URL"))
	ts.Check(err)
	pass := httputil.NewSingleHostReverseProxy(behind)
	status := map[string]int{"301": 301, "302": 302, "303": 303, "307": 307, "308": 308}[args[0]]
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/new/") {
			http.StripPrefix("/new", pass).ServeHTTP(w, r)
			return
		}
		if len(args) > 2 && r.URL.Path != args[2] {
			pass.ServeHTTP(w, r)
			return
		}
		w.Header().Set("Location", strings.ReplaceAll(args[1], "PATH", r.URL.Path))
		w.WriteHeader(status)
	}))
	ts.Defer(server.Close)
	ts.Setenv("FRONT", server.URL)
}
