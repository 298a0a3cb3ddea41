package sweep

import (
	"time"

	"github.com/openloop/openloop/slo"
	"github.com/openloop/openloop/spec"
)

// SearchConfig shapes a search: what was asked of it, at the confidence of every stage's outcome (0:
// slo.DefaultConfidence). The zero value searches with constant arrivals to 5 %. Gates are decided before anything else
// is looked for.
type SearchConfig struct {
	spec.Search
	Confidence float64
	Gates      []slo.Gate
	Traffic    *Traffic // what is sent at several speeds; nil: requests at several rates

	// Of the plan's stages, filled in by Search.
	warmup      time.Duration // beside a stage's length
	maxRequests int           // 0: any
	talk        conversations
}

func (c SearchConfig) withDefaults() SearchConfig {
	if c.Precision <= 0 {
		c.Precision = 0.05
	}
	c.Confidence = slo.WithDefault(c.Confidence)
	if c.MaxStages <= 0 {
		c.MaxStages = 24
	}
	if c.Drain <= 0 {
		c.Drain = time.Minute
	}
	return c
}
