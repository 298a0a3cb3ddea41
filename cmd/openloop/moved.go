package main

import (
	"errors"

	"github.com/openloop/openloop/endpoint"
)

// mostMoves is how many redirects are followed, one after the other, before any load.
const mostMoves = 5

// following asks an endpoint, and where it redirects to another base of its host, that one in its place, which it then
// is for all that follows: the load goes there directly.
func (s *session) following(at **endpoint.Endpoint, ask func(*endpoint.Endpoint) error) error {
	for n := 0; ; n++ {
		err := ask(*at)
		var failed *endpoint.Error
		if !errors.As(err, &failed) || failed.Moved.IsZero() || n == mostMoves {
			return err
		}
		e, openErr := (*at).MoveTo(failed.Moved)
		if openErr != nil {
			return openErr
		}
		s.say("the endpoint redirects from %s: requests go to %s", (*at).Redact((*at).Base().String()),
			(*at).Redact(failed.Moved.String()))
		*at = e
	}
}
