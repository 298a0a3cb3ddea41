//go:build !linux

package llmsim

import (
	"net"
	"time"
)

// stamped does nothing here: the server takes its own stamp when it begins to handle a request.
func stamped(ln net.Listener, _ time.Time) net.Listener { return ln }
