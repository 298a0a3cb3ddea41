package stream

import (
	"net/http"
	"testing"
	"time"
)

func TestRetryAfter(t *testing.T) {
	now := time.Date(2026, 10, 21, 7, 0, 0, 0, time.UTC)
	const date, half = "Wed, 21 Oct 2026 07:28:00 GMT", "Wed, 21 Oct 2026 07:27:30 GMT"
	for _, c := range []struct {
		after, sent string
		want        time.Duration // −1: it does not say
	}{
		{"7", "", 7 * time.Second}, {" 7 ", "", 7 * time.Second}, {"0", "", 0}, {"-1", "", -1}, {"1.5", "", -1},
		{"", "", -1}, {"soon", "", -1}, {"9999999999", "", -1},
		{date, "", 28 * time.Minute},
		{date, half, 30 * time.Second}, // by the server's own clock
		{date, "yesterday", 28 * time.Minute},
		{half, date, 0}, // it is over
	} {
		got, ok := RetryAfter(http.Header{"Retry-After": {c.after}, "Date": {c.sent}}, now)
		if ok != (c.want >= 0) || ok && got != c.want {
			t.Errorf("%q at %q: %v, %v; want %v", c.after, c.sent, got, ok, c.want)
		}
	}
}
