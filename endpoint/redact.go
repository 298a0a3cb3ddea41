package endpoint

import (
	"slices"
	"strings"
)

// RedactCommand returns the arguments of a command line without what is secret in them: the whole value of every flag
// that secretFlags names (without dashes), as --flag value and as --flag=value, and name and password of URLs in any
// argument.
func RedactCommand(args, secretFlags []string) []string {
	safe := make([]string, len(args))
	isValue := false // of the secret flag before it
	for i, arg := range args {
		flag, _, joined := strings.Cut(arg, "=")
		name, isFlag := strings.CutPrefix(flag, "--")
		switch isSecret := isFlag && slices.Contains(secretFlags, name); {
		case isValue:
			safe[i], isValue = redacted, false
		case isSecret && joined:
			safe[i] = flag + "=" + redacted
		default:
			safe[i], isValue = RedactUserinfo(arg), isSecret
		}
	}
	return safe
}

// RedactUserinfo takes name and password out of the URLs in a text. All from the first :// to the last @ goes, since a
// password may itself hold what ends one elsewhere.
func RedactUserinfo(text string) string {
	before, after, found := strings.Cut(text, "://")
	at := strings.LastIndexByte(after, '@')
	if !found || at < 0 {
		return text
	}
	return before + "://" + redacted + after[at:]
}
