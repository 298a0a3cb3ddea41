package bucket

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"

	"github.com/openloop/openloop/endpoint"
	"github.com/openloop/openloop/internal/infile"
	"github.com/openloop/openloop/loadgen/stream"
)

// Error is what is wrong with object storage. Its text holds no secret.
type Error struct {
	Doing string // what was tried
	Hint  string // what to do about it; "" where nothing is known
	Err   error
}

func (e *Error) Error() string { return e.Doing + ": " + e.Err.Error() }

// Unwrap returns what came back.
func (e *Error) Unwrap() error { return e.Err }

// noAnswer ends what takes too long.
type noAnswer time.Duration

func (n noAnswer) Error() string { return fmt.Sprintf("it took longer than %v", time.Duration(n)) }

// shown is how many runes of a server's text are shown.
const shown = 300

// secretVariables hold secrets, or, with the ending _FILE, the names of files with them.
var secretVariables = []string{
	"AWS_SECRET_ACCESS_KEY", "AWS_SECRET_KEY", "AWS_SESSION_TOKEN",
	"AWS_CONTAINER_AUTHORIZATION_TOKEN", "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", "AWS_WEB_IDENTITY_TOKEN_FILE",
}

// shortestID is the fewest bytes of an access key that are taken out. It is a name rather than a secret; Amazon's have
// 20, and others may be words of which texts are made, such as "test".
const shortestID = 16

// mostToken is the size of a file with a token.
const mostToken = 1 << 16

// clean takes out of a text from elsewhere the secrets that were sent, and what a terminal would obey. A server may
// repeat what it was sent, above all what it refuses.
func (s *Store) clean(text string) string {
	var secrets []endpoint.Secret
	add := func(values ...string) {
		for _, v := range values {
			if v = strings.TrimSpace(v); v != "" {
				secrets = append(secrets, endpoint.NewSecret(v))
			}
		}
	}
	for _, name := range secretVariables {
		value := os.Getenv(name)
		if value != "" && strings.HasSuffix(name, "_FILE") {
			content, _ := infile.ReadAll(value, mostToken) // one that can't be read was not sent either
			value = string(content)
		}
		add(value)
	}
	if s.creds != nil {
		// With a context that has ended they are those that were found last: nobody is asked for new ones.
		ended, cancel := context.WithCancel(context.Background())
		cancel()
		v, _ := s.creds.GetWithContext(&credentials.CredContext{Client: http.DefaultClient, Context: ended})
		add(v.SecretAccessKey, v.SessionToken)
		if len(v.AccessKeyID) >= shortestID {
			add(v.AccessKeyID)
		}
	}
	return stream.Shorten(endpoint.NewRedactor(secrets...).Redact(text), shown)
}

// fail makes an error whose text is clean, as is all that it wraps.
func (s *Store) fail(doing string, err error, hint string) error {
	return &Error{doing, hint, errors.New(s.clean(err.Error()))}
}

// explainCredentials says why there are no credentials.
func (s *Store) explainCredentials(ctx context.Context, err error) error {
	if isInterruption(ctx) {
		return context.Cause(ctx)
	}
	if ended := context.Cause(ctx); ended != nil {
		err = ended
	}
	const hint = "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE; " +
		"in Kubernetes from a Secret, or by the service account"
	_, explained := explainNet(err)
	return s.fail("credentials for "+s.at.String(), explained, hint)
}

// explainNet says what an error of the network comes from.
func explainNet(err error) (endpoint.Cause, error) {
	// The first is minio-go's words for an EOF. What was still to be read makes a reset of the same end.
	if strings.Contains(err.Error(), "Connection closed by foreign host") || errors.Is(err, net.ErrClosed) ||
		errors.Is(err, syscall.ECONNRESET) || strings.Contains(err.Error(), "connection reset by peer") {
		return endpoint.CauseClosed, errors.New("the server closed the connection")
	}
	return endpoint.Explain(err)
}

// isInterruption says whether someone ended the context, rather than a limit of ours.
func isInterruption(ctx context.Context) bool {
	var late noAnswer
	return ctx.Err() != nil && !errors.As(context.Cause(ctx), &late)
}

// explain says what an error of minio-go comes from. key is the file that was written; "" for the check.
func (s *Store) explain(ctx context.Context, key string, err error) error {
	if isInterruption(ctx) {
		return context.Cause(ctx)
	}
	doing := fmt.Sprintf("writing to %s at %s", s.at, s.server)
	wrong := s.variables()
	late := "is there a way to the server from here, and is it the right one? " + wrong
	if key != "" {
		doing, late = fmt.Sprintf("writing %s to %s at %s", key, s.at, s.server), ""
	}
	if ended := context.Cause(ctx); ended != nil {
		return s.fail(doing, ended, late)
	}
	var answer minio.ErrorResponse
	if errors.As(err, &answer) && answer.StatusCode > 0 {
		text := fmt.Errorf("HTTP %d %s: %s", answer.StatusCode, answer.Code, answer.Message)
		return s.fail(doing, text, s.hintFor(answer))
	}
	if errors.Is(err, errNotS3) {
		return s.fail(doing, err, "is it the right server? "+wrong)
	}
	cause, explained := explainNet(err)
	hint := ""
	switch cause {
	case endpoint.CauseUnknownAuthority:
		hint = "trust its authority: AWS_CA_BUNDLE=FILE"
	case endpoint.CauseNotTLS:
		hint = "try http:// in place of https:// in AWS_ENDPOINT_URL_S3"
	case endpoint.CauseProxy:
		hint = "HTTP_PROXY or HTTPS_PROXY names the proxy; NO_PROXY lists hosts to reach without it"
	case endpoint.CauseUnknownHost, endpoint.CauseRefused, endpoint.CauseUnreachable, endpoint.CauseTimeout,
		endpoint.CauseNotHTTP:
		hint = "is it the right server? " + wrong
	}
	return s.fail(doing, explained, hint)
}

// variables says where the server is named.
func (s *Store) variables() string {
	if variable, value := endpointVariable(); value != "" {
		return variable + " names it"
	}
	return "AWS_ENDPOINT_URL_S3 names another than Amazon's"
}

// hintFor is what to do about what a server of object storage answered.
func (s *Store) hintFor(answer minio.ErrorResponse) string {
	switch answer.Code {
	case minio.NoSuchBucket, minio.InvalidBucketName:
		return "is the bucket's name right, and is it at this server? openloop makes no bucket; " + s.variables()
	case "InvalidAccessKeyId", "SignatureDoesNotMatch", "InvalidToken", "ExpiredToken", "TokenRefreshRequired":
		return "these credentials are not accepted: are they of this server, and not too old? " + s.variables()
	case "RequestTimeTooSkewed":
		return "this machine's clock is wrong"
	case minio.AccessDenied, "AllAccessDisabled", "AccountProblem":
		return fmt.Sprintf("the credentials need s3:PutObject on arn:aws:s3:::%s/*", s.at.path())
	case minio.InvalidRegion, minio.AuthorizationHeaderMalformed, "PermanentRedirect", "TemporaryRedirect":
		return "AWS_REGION names the bucket's region"
	}
	switch {
	case answer.StatusCode == http.StatusForbidden || answer.StatusCode == http.StatusUnauthorized:
		return fmt.Sprintf("the credentials need s3:PutObject on arn:aws:s3:::%s/*", s.at.path())
	case answer.StatusCode/100 == 3 || answer.StatusCode == http.StatusNotFound ||
		answer.StatusCode == http.StatusMethodNotAllowed:
		return "is it the right server, does it speak S3, and are the credentials of it? " + s.variables()
	}
	return ""
}

// path is the location without its scheme.
func (l Location) path() string { return strings.TrimPrefix(l.String(), Scheme) }
