package tokens

// LengthCheck says how exact the prompts of a run were, by the endpoint's own usage.
type LengthCheck struct {
	Template int     // what the endpoint adds to each prompt: the most frequent difference, in tokens
	Requests int     // requests with a usage
	Exact    int     // requests whose usage was the asked length and the template, exactly
	Error    float64 // the greatest difference from that, over the asked length
}

// CheckLengths compares the asked lengths of prompts with usage.prompt_tokens of the same requests; 0 in either is not known
// and left out.
func CheckLengths(asked, counted []int) LengthCheck {
	var c LengthCheck
	differences := map[int]int{}
	for i, n := range asked {
		if n <= 0 || counted[i] <= 0 {
			continue
		}
		c.Requests++
		d := counted[i] - n
		differences[d]++
		if best := differences[c.Template]; differences[d] > best || differences[d] == best && d < c.Template {
			c.Template = d
		}
	}
	c.Exact = differences[c.Template]
	for i, n := range asked {
		if n > 0 && counted[i] > 0 {
			c.Error = max(c.Error, float64(abs(counted[i]-n-c.Template))/float64(n))
		}
	}
	return c
}

func abs(n int) int {
	if n < 0 {
		return -n
	}
	return n
}
