package cli

import (
	"errors"
	"fmt"
	"strings"

	"github.com/openloop/openloop/endpoint"
	"github.com/openloop/openloop/guidellm"
)

// simScheme begins the target that is the simulated engine.
const simScheme = "sim:"

// readTarget reads --target and --model.
func (c *Command) readTarget(a *arguments) error {
	e, target := &c.Spec.Endpoint, a.target.Value
	switch sim, isSim := strings.CutPrefix(target, simScheme); {
	case target == "":
		return errors.New(
			"no target: give --target http://host:port (or GUIDELLM_TARGET, or a scenario that names one)")
	case isSim:
		e.Target, e.Sim = target, sim
	default:
		base, login, err := endpoint.ParseBase(target)
		if err != nil {
			return fmt.Errorf("--target: %w", err)
		}
		named, _, err := endpoint.ParseAddress(target)
		if err != nil {
			return fmt.Errorf("--target: %w", err)
		}
		e.Target, e.Address, c.login = named.String(), base, login
	}
	c.Args.Target = e.Target
	if model := a.model.Value; model != "" {
		e.Model, c.Args.Model = model, guidellm.Some(model)
	}
	return nil
}

// readBackend reads --backend-kwargs: the arguments of GuideLLM's OpenAIHTTPBackend (backends/openai.py).
func (c *Command) readBackend(a *arguments) error {
	settings := a.backendKwargs.Object
	if settings == nil {
		return nil
	}
	refuse := func(format string, args ...any) error {
		return fmt.Errorf("--backend-kwargs: "+format, args...)
	}
	echo := guidellm.Object{}
	for _, m := range settings {
		on, isTruth := truthOf(m.Value)
		switch m.Key {
		case "verify", "http2":
			if !isTruth {
				return refuse("%s is true or false, not %s", m.Key, describe(m.Value))
			}
			if m.Key == "http2" {
				c.Spec.Endpoint.HTTP2 = on
			} else if !on {
				c.Spec.Endpoint.Insecure = true
			}
		case "timeout":
			if x, ok := numberOf(m.Value); m.Value != nil && (!ok || x <= 0) {
				return refuse("timeout is a number of seconds above 0, not %s", describe(m.Value))
			}
			c.note("--backend-kwargs timeout has no effect: it limits each silence of the server, after which " +
				"GuideLLM counts an error; openloop waits, and what the stage's end cuts off is incomplete")
		case "follow_redirects":
			if on {
				c.note("--backend-kwargs follow_redirects has no effect: openloop follows no redirect of the load, " +
					"it reports it as an error")
			}
		case "validate_backend":
			c.note("--backend-kwargs validate_backend has no effect: openloop asks for the models and sends one " +
				"trial request before any load")
		case "api_routes":
			if err := checkRoutes(m.Value); err != nil {
				return refuse("api_routes: %w", err)
			}
		case "response_handlers":
			return refuse("response_handlers names Python classes, which openloop has not")
		default:
			return refuse("%q is not a setting of GuideLLM's openai_http backend; they are timeout, http2, "+
				"follow_redirects, verify, validate_backend, api_routes", m.Key)
		}
		if !isTruth && m.Key != "timeout" {
			m.Value = hideTexts(m.Value)
		}
		echo = append(echo, m)
	}
	c.Args.BackendKwargs = echo
	return nil
}

// checkRoutes refuses paths of the API that openloop does not ask at.
func checkRoutes(value any) error {
	routes, _ := value.(guidellm.Object)
	for _, m := range routes {
		want := map[string]string{
			"models": "v1/models", "text_completions": "v1/completions", "chat_completions": "v1/chat/completions",
		}[m.Key]
		if want != "" && m.Value != want {
			return fmt.Errorf("openloop asks for %s at %s under the target; give a target under which it is there",
				m.Key, want)
		}
	}
	return nil
}

// hideTexts is a value with every text in it replaced: what has no effect is echoed for its numbers and switches, and a
// text in it may be a token or a password.
func hideTexts(value any) any {
	switch v := value.(type) {
	case string:
		return "[redacted]"
	case []any:
		hidden := make([]any, len(v))
		for i, item := range v {
			hidden[i] = hideTexts(item)
		}
		return hidden
	case guidellm.Object:
		hidden := make(guidellm.Object, len(v))
		for i, m := range v {
			hidden[i] = guidellm.Member{Key: m.Key, Value: hideTexts(m.Value)}
		}
		return hidden
	}
	return value
}
