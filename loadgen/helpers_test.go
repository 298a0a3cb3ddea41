package loadgen

import (
	"io"
	"log"
	"net/url"
	"time"
)

var discardLog = log.New(io.Discard, "", 0)

func constantLoad(rate float64) Load { return Load{Kind: ConstantGap, Rate: rate} }

func streamsLoad(n int) Load { return Load{Kind: Concurrent, Streams: n} }

// timesLoad has its requests at the given offsets; none is a schedule without requests.
func timesLoad(offsets ...time.Duration) Load {
	return Load{Kind: ConstantGap, Times: append([]time.Duration{}, offsets...)}
}

func mustURL(s string) *url.URL {
	u, err := url.Parse(s)
	if err != nil {
		panic(err)
	}
	return u
}

var proxyURL = mustURL("http://proxy.test:3128")
