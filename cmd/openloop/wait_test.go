package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/openloop/openloop/endpoint"
)

func TestWaiter(t *testing.T) {
	down := func(cause endpoint.Cause) error {
		return &endpoint.Error{Doing: "GET x", Cause: cause, Err: errors.New(string(cause))}
	}
	for _, tc := range []struct {
		name    string
		limit   time.Duration
		answers []error // one an attempt; the last one again and again
		want    string  // part of the error; "" for none
		after   time.Duration
		lines   int // at least
	}{
		{"is there", time.Minute, []error{nil}, "", 0, 0},
		{"is not waited for", 0, []error{down(endpoint.CauseRefused)}, "refused", 0, 0},
		{"comes up", time.Minute, []error{down(endpoint.CauseUnknownHost), down(endpoint.CauseRefused),
			down(endpoint.CauseUnavailable), down(endpoint.CauseNoModels), notYet{errors.New("no such model")}, nil},
			"", 5 * time.Second, 2},
		{"does not come up", time.Minute, []error{down(endpoint.CauseRefused)},
			"not ready after 1m0s: GET x: refused", time.Minute, 6},
		{"wants a key, once it is there", time.Minute,
			[]error{down(endpoint.CauseRefused), down(endpoint.CauseUnauthorized)}, "unauthorized", time.Second, 1},
		{"bad TLS", time.Minute, []error{down(endpoint.CauseUnknownAuthority)}, "unknown authority", 0, 0},
		{"another error", time.Minute, []error{errors.New("odd")}, "odd", 0, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var lines []string
				w := &waiter{limit: tc.limit, say: func(format string, args ...any) {
					lines = append(lines, fmt.Sprintf(format, args...))
				}}
				n := 0
				began := time.Now()
				err := w.until(t.Context(), func(context.Context) error {
					answer := tc.answers[min(n, len(tc.answers)-1)]
					n++
					return answer
				})
				if (err == nil) != (tc.want == "") || err != nil && !strings.Contains(err.Error(), tc.want) {
					t.Errorf("%v, want %q", err, tc.want)
				}
				if took := time.Since(began); took != tc.after {
					t.Errorf("after %v, want %v", took, tc.after)
				}
				if len(lines) < tc.lines || tc.lines == 0 && len(lines) > 0 {
					t.Errorf("%d lines: %q", len(lines), lines)
				}
			})
		})
	}
}

// While nothing comes, the log says so every ten seconds, from the first attempt on.
func TestWaiterTells(t *testing.T) {
	for _, limit := range []time.Duration{0, time.Minute} {
		synctest.Test(t, func(t *testing.T) {
			var lines []string
			w := &waiter{limit: limit, say: func(format string, args ...any) {
				lines = append(lines, fmt.Sprintf(format, args...))
			}}
			err := w.until(t.Context(), func(context.Context) error {
				time.Sleep(25 * time.Second)
				return nil
			})
			want := "waiting for the endpoint, 10s: no answer yet|waiting for the endpoint, 20s: no answer yet"
			if limit > 0 {
				want = strings.ReplaceAll(want, "0s:", "0s of 1m0s:")
			}
			if err != nil || strings.Join(lines, "|") != want {
				t.Errorf("limit %v: %v, %q, want %q", limit, err, lines, want)
			}
		})
	}
}

// An attempt that hangs does not keep the waiting from its end, or from Ctrl-C; the limit counts over several calls.
func TestWaiterEnds(t *testing.T) {
	refused := &endpoint.Error{Doing: "GET x", Cause: endpoint.CauseRefused, Err: errors.New("refused")}
	synctest.Test(t, func(t *testing.T) {
		n := 0
		hangs := func(ctx context.Context) error {
			if n++; n == 1 {
				return refused
			}
			<-ctx.Done()
			return context.Cause(ctx)
		}
		w := &waiter{limit: 30 * time.Second, say: func(string, ...any) {}}
		began := time.Now()
		if err := w.until(t.Context(), hangs); err == nil || !strings.Contains(err.Error(), "not ready after 30s") {
			t.Error(err)
		}
		if took := time.Since(began); took != 30*time.Second {
			t.Errorf("after %v", took)
		}
		n = 0
		if err := w.until(t.Context(), hangs); err == nil || !strings.Contains(err.Error(), "not ready") {
			t.Error(err)
		}
		if took := time.Since(began); took != 30*time.Second {
			t.Errorf("the second call took %v more", took-30*time.Second)
		}

		ctx, cancel := context.WithCancelCause(t.Context())
		time.AfterFunc(5*time.Second, func() { cancel(interrupted{syscall.SIGINT}) })
		w, n = &waiter{limit: time.Hour, say: func(string, ...any) {}}, 0
		if err := w.until(ctx, hangs); !errors.As(err, &interrupted{}) {
			t.Error(err)
		}
		time.Sleep(time.Minute) // nothing is left that tells
	})
}
