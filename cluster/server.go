package cluster

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
)

// maxMessage is the largest message: NATS allows no more. Requests are fetched in parts of a part of that, and a single
// one can't be larger.
const maxMessage = 64 << 20

// startServer starts the NATS server of a leader.
func startServer(address, token string, secure *tls.Config, refused func(host, why string)) (*server.Server, error) {
	host, text, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	port, err := strconv.Atoi(text)
	if err != nil || port < 0 || port > 65535 {
		return nil, fmt.Errorf("%q is not a port", text)
	}
	if port == 0 {
		port = server.RANDOM_PORT
	}
	s, err := server.NewServer(&server.Options{
		ServerName: "openloop", Host: host, Port: port, Authorization: token, TLSConfig: secure, TLS: secure != nil,
		NoSigs: true, MaxPayload: maxMessage, MaxPending: 4 * maxMessage,
		PingInterval: time.Second, MaxPingsOut: 3, WriteDeadline: lostAfter, AuthTimeout: 5, TLSTimeout: 5,
	})
	if err != nil {
		return nil, err
	}
	s.SetLogger(doorkeeper{refused}, false, false)
	// The server says why it can't listen to its log alone, so that this is tried before.
	l, err := net.Listen("tcp", address)
	if err != nil {
		return nil, err
	}
	l.Close()
	go s.Start()
	if !s.ReadyForConnections(5 * time.Second) {
		s.Shutdown()
		return nil, errors.New("the NATS server does not start")
	}
	return s, nil
}

// doorkeeper is the server's log, of which one thing is of interest: who was not let in.
type doorkeeper struct{ refused func(host, why string) }

func (d doorkeeper) Errorf(format string, v ...any) {
	text := fmt.Sprintf(format, v...)
	address, _, _ := strings.Cut(text, " ")
	host, _, err := net.SplitHostPort(address)
	switch {
	case err != nil:
	case strings.Contains(text, server.ErrAuthentication.Error()):
		d.refused(host, "it has no token, or another one")
	case strings.Contains(text, "TLS handshake error"):
		d.refused(host, "it does not speak TLS, or does not trust the leader's certificate")
	}
}

func (doorkeeper) Noticef(string, ...any) {}
func (doorkeeper) Warnf(string, ...any)   {}
func (doorkeeper) Fatalf(string, ...any)  {}
func (doorkeeper) Debugf(string, ...any)  {}
func (doorkeeper) Tracef(string, ...any)  {}

// connection options of leader and workers alike.
func options(token string) []nats.Option {
	o := []nats.Option{
		nats.Name("openloop"), nats.MaxReconnects(-1), nats.ReconnectWait(200 * time.Millisecond),
		nats.ReconnectJitter(50*time.Millisecond, 50*time.Millisecond),
		nats.PingInterval(time.Second), nats.MaxPingsOutstanding(3),
		nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}), // what is lost is noticed by its number
	}
	if token != "" {
		o = append(o, nats.Token(token))
	}
	return o
}
