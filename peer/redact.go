package peer

import (
	"regexp"
	"strings"

	"github.com/openloop/openloop/endpoint"
)

// redacted stands for what is left out of a command line.
const redacted = "[redacted]"

var (
	// secretName is the name of a flag whose value is a key, or may hold one: --api-key, --hf-token, -H,
	// --backend-kwargs.
	secretName = regexp.MustCompile(`(?i:(?:^|[-_])(?:apikey|key|token|secret|password|passwd|auth|authorization|` +
		`credentials|headers?|kwargs|backend[-_]args)$)|^H$`)
	// secretText is a key that stands in a word with its name: OPENAI_API_KEY=…, {"api_key": "…"}, a header.
	secretText = regexp.MustCompile(`(?i)((?:key|token|secret|password|passwd|authorization)["']?\s*[=:]\s*["']?` +
		`(?:(?:bearer|basic)\s+)?)[^\s"',}]+`)
	bearer = regexp.MustCompile(`(?i)(\bbearer\s+)[^\s"',}]+`)
)

// redact is a command line without what is, or may be, a credential in it. Whose flags they are is not known, so that
// rather too much is left out.
func redact(command []string) []string {
	var names []string
	for _, arg := range command {
		if name := flagName(arg); secretName.MatchString(name) {
			names = append(names, name)
		}
	}
	safe := endpoint.RedactCommand(command, names)
	secret := false // what stands here is a value of a secret flag, which may have several
	for i, arg := range command {
		switch {
		case flagName(arg) != "":
			secret = secretName.MatchString(flagName(arg)) && !strings.Contains(arg, "=")
		case secret:
			safe[i] = redacted
			continue
		}
		safe[i] = secretText.ReplaceAllString(safe[i], "${1}"+redacted)
		safe[i] = bearer.ReplaceAllString(safe[i], "${1}"+redacted)
	}
	return safe
}

// flagName is the name of a flag without dashes and value; "" for what is none.
func flagName(arg string) string {
	name, isFlag := strings.CutPrefix(arg, "-")
	if !isFlag {
		return ""
	}
	name, _, _ = strings.Cut(strings.TrimPrefix(name, "-"), "=")
	return name
}
