package transport

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"golang.org/x/time/rate"
)

// connectsPerSecond bounds new connections: a server that refuses every one must not make a closed loop spin, and more
// than this many a second would measure the kernel's accept queue. The burst covers a saturation stage's first
// arrivals.
const (
	connectsPerSecond = 5000
	connectBurst      = 2000
)

// dialer opens connections, not too many a second, and each within a time.
type dialer struct {
	dial    func(ctx context.Context, network, address string) (net.Conn, error)
	timeout time.Duration
	limit   *rate.Limiter
}

func newDialer(c Config) dialer {
	return dialer{c.Dial, c.ConnectTimeout, rate.NewLimiter(connectsPerSecond, connectBurst)}
}

// open opens a connection; handshake, where not nil, is part of what must be done in time, and its error closes the
// connection.
func (d *dialer) open(
	ctx context.Context, address string, handshake func(context.Context, net.Conn) error,
) (net.Conn, error) {
	if err := d.limit.Wait(ctx); err != nil {
		return nil, err
	}
	limited, cancel := context.WithTimeout(ctx, d.timeout)
	defer cancel()
	c, err := d.dial(limited, "tcp", address)
	late := func() bool { return ctx.Err() == nil && errors.Is(limited.Err(), context.DeadlineExceeded) }
	if err != nil {
		if late() {
			err = d.tooLate(address, err)
		}
		return nil, err
	}
	if handshake == nil {
		return c, nil
	}
	if err := handshake(limited, c); err != nil {
		c.Close()
		if late() {
			err = fmt.Errorf("no handshake within %v", d.timeout)
		}
		return nil, fmt.Errorf("TLS with %s: %w", address, err)
	}
	return c, nil
}

// tooLate says what was not done in time: a name server that does not answer is not the endpoint's fault.
func (d *dialer) tooLate(address string, err error) error {
	var name *net.DNSError
	if errors.As(err, &name) {
		return fmt.Errorf("the address of %s was not found within %v: no name server answered", name.Name, d.timeout)
	}
	return fmt.Errorf("no connection to %s within %v", address, d.timeout)
}
