package cli

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/openloop/openloop/endpoint"
	"github.com/openloop/openloop/guidellm"
	"github.com/openloop/openloop/tokens"
)

var refusedBackends = map[string]string{
	"openai_websocket":  "openloop asks over HTTP: kind=openai_http",
	"vllm_python":       "openloop asks a server: start vllm serve, and kind=openai_http",
	"vllm_python_async": "openloop asks a server: start vllm serve, and kind=openai_http",
	"vllm_python_batch": "openloop asks a server: start vllm serve, and kind=openai_http",
}

// backend reads whom the requests go to (schemas/backends/openai_http.py).
func (r *runReader) backend(s *section) error {
	if len(s.rest) == 0 && s.err == nil {
		return errors.New("no endpoint: give --backend kind=openai_http,target=http://host:port, or a --scenario")
	}
	s.kind([]string{"openai_http"}, refusedBackends)
	if s.err != nil {
		return s.err
	}
	a := newArguments()
	if target := s.text("target"); target != "" {
		a.target.Null = guidellm.Some(strings.TrimRight(target, "/"))
	} else if s.err == nil {
		s.failed("target", "it is missing: http://host:port, or sim:PRESET for the simulated engine")
	}
	if model := s.text("model"); model != "" {
		a.model.Null = guidellm.Some(model)
	}
	if s.err != nil {
		return s.err
	}
	if err := r.readTarget(a); err != nil {
		return fmt.Errorf("backend.%w", &named{"--target: ", "target: ", err})
	}
	r.requestFormat(s)
	r.connection(s)
	if on, given := s.truth("stream"); given {
		r.Spec.Workload.NoStream = !on
	}
	if n, given := s.whole("max_tokens", 1); given {
		r.answerTokens = int(min(n, 1<<31-1))
	}
	if n, given := s.whole("max_completion_tokens", 1); given && r.answerTokens == 0 {
		r.answerTokens = int(min(n, 1<<31-1))
	}
	r.extras(newSection("backend.extras", s.take("extras")), s)
	s.refuse("openloop sends the history with each turn; leave it out", "server_history")
	s.refuse("openloop sends the answers of earlier turns without their reasoning; leave it out", "multiturn_reasoning")
	switch s.text("tool_call_missing_behavior") { // openloop expects no calls of tools
	case "", "ignore_continue", "ignore_stop", "error_stop":
	default:
		s.failed("tool_call_missing_behavior", "it is ignore_continue, ignore_stop or error_stop")
	}
	return s.end()
}

// named is an error that begins with another name of what it is about.
type named struct {
	from, to string
	err      error
}

func (n *named) Error() string { return n.to + strings.TrimPrefix(n.err.Error(), n.from) }
func (n *named) Unwrap() error { return n.err }

// requestFormat reads the path that is asked at.
func (r *runReader) requestFormat(s *section) {
	path := s.text("request_format")
	if path == "" {
		path = tokens.ChatCompletions.Path()
	}
	var paths []string
	for _, name := range tokens.FormatNames() {
		f, err := tokens.ParseFormat(name)
		switch {
		case err != nil:
		case f.Path() == path && !f.Generates():
			s.failed("request_format", "%q: openloop run URL --request-type %s asks there", path, name)
			return
		case f.Path() == path:
			r.Spec.Workload.Format, r.Args.DataRequestFormatter = f, name
			return
		case f.Generates():
			paths = append(paths, f.Path())
		}
	}
	s.failed("request_format", "%q: openloop asks at %s", path, orList(paths))
}

// connection reads how the endpoint is reached.
func (r *runReader) connection(s *section) {
	e := &r.Spec.Endpoint
	if key := s.text("api_key"); key != "" {
		if strings.ContainsAny(key, "\r\n") {
			s.failed("api_key", "it is not a text of one line")
		} else if r.login.IsEmpty() {
			r.login = endpoint.NewSecret("Bearer " + strings.TrimSpace(key))
		}
	}
	r.routes(s)
	if _, given := s.number("timeout", 0); given {
		r.note("backend.timeout has no effect: it limits each silence of the server; --request-timeout limits a " +
			"whole request")
	}
	if seconds, given := s.number("timeout_connect", 0); given {
		if seconds <= 0 || seconds > noLimit.Seconds() {
			s.failed("timeout_connect", "%v: it must be above 0 and at most %.0f", seconds, noLimit.Seconds())
		}
		e.ConnectTimeout = time.Duration(seconds * float64(time.Second))
	}
	if on, given := s.truth("http2"); given {
		e.HTTP2 = on
	}
	if on, given := s.truth("follow_redirects"); given && on {
		r.note("backend.follow_redirects has no effect: a redirect of the load is an error")
	}
	if on, given := s.truth("verify"); given && !on {
		e.Insecure = true
	}
	if on, given := s.truth("validate_backend"); given && !on {
		r.note("backend.validate_backend has no effect: openloop asks for the models and sends one trial request " +
			"before any load")
	}
}

// routes refuses other paths of the API than those that openloop asks at.
func (r *runReader) routes(s *section) {
	value := s.take("api_routes")
	object, ok := value.(guidellm.Object)
	if value != nil && !ok {
		s.failed("api_routes", "it is %s: want an object", describe(value))
	}
	for _, m := range object {
		path, _ := m.Value.(string)
		if m.Key == "/health" || m.Key != r.Spec.Workload.Format.Path() && m.Key != "/v1/models" {
			continue
		}
		if "/"+strings.TrimPrefix(path, "/") != m.Key {
			s.failed("api_routes", "openloop asks at %s under the target; give a target under which it is there", m.Key)
		}
	}
}

// extras reads what is added to every request (schemas/base/request.py, GenerationRequestArguments).
func (r *runReader) extras(s, backend *section) {
	for _, key := range []string{"body", "headers", "stream"} {
		value := s.take(key)
		if value == nil {
			continue
		}
		if err := r.readExtra(key, value); err != nil {
			s.failed(key, "%w", err)
		}
	}
	if method := s.text("method"); method != "" && !strings.EqualFold(method, "POST") {
		s.failed("method", "openloop sends POST")
	}
	s.refuse("openloop adds to the body and to the headers only", "params", "files", "content")
	if err := s.end(); err != nil && backend.err == nil {
		backend.err = err
	}
}

// redactBackend is a backend without what may be a credential.
func redactBackend(o guidellm.Object) guidellm.Object {
	o = slices.Clone(o)
	for i, m := range o {
		switch m.Key {
		case "target":
			if text, ok := m.Value.(string); ok {
				o[i].Value = endpoint.RedactUserinfo(text)
			}
		case "api_key":
			if m.Value != nil {
				o[i].Value = "**********" // as GuideLLM shows it
			}
		case "extras":
			if extras, ok := m.Value.(guidellm.Object); ok {
				o[i].Value = redactFormatter(guidellm.Object{{Key: "extras", Value: extras}})[0].Value
			}
		}
	}
	return o
}
