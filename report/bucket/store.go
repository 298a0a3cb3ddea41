package bucket

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"

	"github.com/openloop/openloop/internal/infile"
)

const (
	// amazon is the server where no other is named. minio-go asks the one of the bucket's region.
	amazon = "s3.amazonaws.com"
	// otherRegion is what servers other than Amazon's are signed for, unless a variable says otherwise: most have no
	// regions, and take this one.
	otherRegion = "us-east-1"
	// retries is how often a request is sent at most, within some ten seconds.
	retries = 8
	// dialPatience is how long a connection may take to open, and its TLS.
	dialPatience = 10 * time.Second
	// stalled is how long the network may take nothing of what is sent, and a server to answer.
	stalled = 30 * time.Second
	// checkRetries is the same for the check before the load: nothing is lost yet.
	checkRetries = 3
	// checkPatience is how long finding the credentials and the bucket may take in all.
	checkPatience = 20 * time.Second
	// mostAuthorities is the size of the file of AWS_CA_BUNDLE.
	mostAuthorities = 10 << 20
)

// checkName is the object that is written to see whether objects can be written.
const checkName = "openloop-tests-whether-it-can-write-here"

// Store is a folder in a bucket, at a server that the environment names: by the variables, files and servers that
// Amazon's own tools use.
type Store struct {
	at     Location
	server string // for messages, with its scheme
	host   string
	secure bool
	region string // "": minio-go asks for the bucket's
	creds  *credentials.Credentials
	http   *http.Transport
	client *minio.Client
}

// Open finds the server and the credentials, and checks that the folder can be written to: an object is, and is removed
// again where that is allowed. Errors are *Error, or the cause with which the context ended.
func Open(ctx context.Context, at Location) (*Store, error) {
	return open(ctx, at, (&net.Dialer{Timeout: dialPatience}).DialContext)
}

// dialer opens connections, as net.Dialer.DialContext does.
type dialer func(ctx context.Context, network, address string) (net.Conn, error)

func open(ctx context.Context, at Location, dial dialer) (*Store, error) {
	s := &Store{at: at, host: amazon, secure: true, server: "https://" + amazon, region: region()}
	if variable, value := endpointVariable(); value != "" {
		var err error
		if s.host, s.secure, err = parseEndpoint(value); err != nil {
			return nil, &Error{variable, "such as http://minio:9000; without it, Amazon's servers are asked", err}
		}
		s.server = map[bool]string{true: "https://", false: "http://"}[s.secure] + s.host
		if !strings.Contains(s.host, ".amazonaws.com") {
			s.region = cmp.Or(s.region, otherRegion)
		}
	}
	if err := s.openTransport(dial); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, checkPatience, noAnswer(checkPatience))
	defer cancel()
	var err error
	if s.creds, err = findCredentials(ctx, &http.Client{Transport: s.http}); err != nil {
		return nil, s.explainCredentials(ctx, err)
	}
	if err := s.check(ctx); err != nil {
		return nil, err
	}
	return s, s.connect(retries)
}

// endpointVariable is the variable that names the server, and what it says; "" for none.
func endpointVariable() (variable, value string) {
	for _, variable := range []string{"AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"} {
		if value := os.Getenv(variable); value != "" {
			return variable, value
		}
	}
	return "", ""
}

// openTransport prepares the connections: they trust the authorities of AWS_CA_BUNDLE too, and none hangs.
func (s *Store) openTransport(dial dialer) error {
	s.http = &http.Transport{
		Proxy: http.ProxyFromEnvironment,
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			conn, err := dial(ctx, network, address)
			if err != nil {
				return nil, err
			}
			return &impatientConn{conn}, nil
		},
		TLSHandshakeTimeout: dialPatience, ResponseHeaderTimeout: stalled,
		TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12}, DisableCompression: true,
	}
	name := os.Getenv("AWS_CA_BUNDLE")
	if name == "" {
		return nil
	}
	text, err := infile.ReadAll(name, mostAuthorities)
	if err != nil {
		return &Error{"AWS_CA_BUNDLE", "", err}
	}
	pool, err := x509.SystemCertPool()
	if err != nil {
		pool = x509.NewCertPool()
	}
	if !pool.AppendCertsFromPEM(text) {
		return &Error{"AWS_CA_BUNDLE", "", fmt.Errorf("%s holds no certificate in PEM form", name)}
	}
	s.http.TLSClientConfig.RootCAs = pool
	return nil
}

// impatientConn is a connection on which a write that makes no progress fails.
type impatientConn struct{ net.Conn }

func (c *impatientConn) Write(p []byte) (int, error) {
	if err := c.SetWriteDeadline(time.Now().Add(stalled)); err != nil {
		return 0, err
	}
	return c.Conn.Write(p)
}

// connect makes the client. How the bucket stands in the address, in the path or in the host, is minio-go's to know: by
// the host.
func (s *Store) connect(tries int) error {
	var err error
	s.client, err = minio.New(s.host, &minio.Options{
		Creds: s.creds, Secure: s.secure, Transport: s.http, Region: s.region, MaxRetries: tries,
	})
	if err != nil {
		return s.explain(context.Background(), "", err)
	}
	s.client.SetAppInfo("openloop", "1")
	return nil
}

// check writes an object and removes it.
func (s *Store) check(ctx context.Context) error {
	err := s.writeCheck(ctx)
	// A bucket of another region than the environment names says which.
	if other := minio.ToErrorResponse(err).Region; other != "" && other != s.region {
		s.region = other
		err = s.writeCheck(ctx)
	}
	if err != nil {
		return s.explain(ctx, "", err)
	}
	// Where nothing may be removed the object stays, one for all runs.
	_ = s.client.RemoveObject(ctx, s.at.Bucket, s.at.Join(checkName).Prefix, minio.RemoveObjectOptions{})
	return nil
}

func (s *Store) writeCheck(ctx context.Context) error {
	if err := s.connect(checkRetries); err != nil {
		return err
	}
	const text = "yes\n"
	options := s.options()
	options.ContentType = "text/plain"
	info, err := s.client.PutObject(ctx, s.at.Bucket, s.at.Join(checkName).Prefix, strings.NewReader(text),
		int64(len(text)), options)
	if err == nil && info.ETag == "" {
		return errNotS3
	}
	return err
}

// options are how objects are sent. Without TLS minio-go would sign the body piece by piece, by a reader that it and
// net/http may both close at once, where a server answers early (signer.StreamingReader, v7.4.1). The body's MD5, which
// is signed with the headers, stands for that.
func (s *Store) options() minio.PutObjectOptions {
	if s.secure {
		return minio.PutObjectOptions{}
	}
	return minio.PutObjectOptions{DisableContentSha256: true, SendContentMd5: true}
}

// errNotS3 says that something answered that stores nothing.
var errNotS3 = errors.New("what answered is not a server of object storage: it gave the object no ETag")

// File is a file that is to become an object.
type File struct {
	Name string // on the disk
	Key  string // in the folder
	Size int64  // bytes
}

// AfterEnd is how long an upload goes on after its context has ended. Kubernetes gives a pod 30 seconds, of which a
// report takes up to 5.
const AfterEnd = 20 * time.Second

// Upload puts files into a folder of the store, the smallest first, so that what is cut short has left the most. It
// returns how many are there. When the context ends it goes on for AfterEnd. Errors are *Error.
func (s *Store) Upload(ctx context.Context, folder string, files []File) (int, error) {
	own, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	defer cancel(nil)
	stop := context.AfterFunc(ctx, func() {
		late := time.NewTimer(AfterEnd)
		defer late.Stop()
		select {
		case <-late.C:
			cancel(noAnswer(AfterEnd))
		case <-own.Done():
		}
	})
	defer stop()
	files = slices.Clone(files)
	slices.SortFunc(files, func(a, b File) int {
		return cmp.Or(cmp.Compare(a.Size, b.Size), strings.Compare(a.Key, b.Key))
	})
	for i, f := range files {
		to := s.at.Join(folder).Join(f.Key)
		_, err := s.client.FPutObject(own, to.Bucket, to.Prefix, f.Name, s.options())
		if err != nil {
			return i, s.explain(own, f.Key, err)
		}
	}
	return len(files), nil
}

// Folder is the address of a folder of the store.
func (s *Store) Folder(name string) Location { return s.at.Join(name) }
