package report

import "github.com/openloop/openloop/loadgen"

// tokenRates are the rates of tokens, in tokens per second, that the server handled while a stage's requests were sent:
// output tokens as they came, those of unfinished requests included, and all, which is with the prompt tokens when
// their first output token came. An event counts as output tokens/token events tokens where the server gave the number
// of tokens, else as one.
func tokenRates(l *loadgen.Measured) (output, all float64) {
	seconds := float64(l.Stopped-l.Start) / 1e9
	if seconds <= 0 {
		return 0, 0
	}
	for i := range l.Records {
		rec := &l.Records[i]
		if rec.FirstToken == 0 || rec.FirstToken > l.Stopped {
			continue
		}
		prompt := rec.PromptTokens
		if prompt < 0 {
			prompt = max(0, rec.AskedPrompt)
		}
		came := float64(rec.TokenEvents)
		if rec.OutputTokens >= 0 {
			came = float64(rec.OutputTokens)
		}
		if rec.LastToken > l.Stopped { // in the grace time: the part before the end, as evenly spread
			came *= float64(l.Stopped-rec.FirstToken) / float64(rec.LastToken-rec.FirstToken)
		}
		output += came
		all += float64(prompt) + came
	}
	return output / seconds, all / seconds
}

// meanInFlight is the mean number of requests in flight while a stage's requests were sent, by Little's sum: the time
// that requests spent in flight over the time of the stage.
func meanInFlight(l *loadgen.Measured) float64 {
	if l.Stopped <= l.Start {
		return 0
	}
	sum := int64(0)
	for i := range l.Records {
		rec := &l.Records[i]
		if rec.Sent > 0 {
			sum += max(0, min(rec.End, l.Stopped)-rec.Sent)
		}
	}
	return float64(sum) / float64(l.Stopped-l.Start)
}

// completionRate is the rate, in requests per second, at which requests completed while a stage's requests were sent.
func completionRate(l *loadgen.Measured) float64 {
	if l.Stopped <= l.Start {
		return 0
	}
	n := 0
	for i := range l.Records {
		if rec := &l.Records[i]; rec.Status == loadgen.Completed && rec.End <= l.Stopped {
			n++
		}
	}
	return float64(n) / (float64(l.Stopped-l.Start) / 1e9)
}
