package tokens

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"image"
	"strings"
	"testing"
)

// The images of a request are those of its seed, valid, of the size that was asked for, and like no other.
func TestImages(t *testing.T) {
	spec := Spec{
		Synthetic: &SyntheticSpec{Prompt: Length{Mean: 8}, Output: Length{Mean: 4},
			Images: &ImageSpec{Count: 2, Width: 70, Height: 33}},
		Tokenizer: "o200k_base", Seed: 7,
	}
	seen := map[string]bool{}
	bodies := func() (all []string) {
		w, err := Open(spec, "m")
		if err != nil {
			t.Fatal(err)
		}
		defer w.Close()
		next, release, err := w.Source(t.Context(), 0)
		if err != nil {
			t.Fatal(err)
		}
		defer release()
		for i := range 5 {
			r, err := next(i)
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, string(r.Body))
		}
		return all
	}
	first := bodies()
	for i, again := range bodies() {
		if again != first[i] {
			t.Errorf("request %d is another one in a second run", i)
		}
	}
	for _, body := range first {
		var asked struct {
			Messages []struct {
				Content []struct {
					Type     string
					Text     string
					ImageURL struct{ URL string } `json:"image_url"`
				}
			}
		}
		if err := json.Unmarshal([]byte(body), &asked); err != nil {
			t.Fatal(err)
		}
		parts := asked.Messages[0].Content
		if len(parts) != 3 || parts[0].Text == "" {
			t.Fatalf("%d parts", len(parts))
		}
		for _, p := range parts[1:] {
			data, ok := strings.CutPrefix(p.ImageURL.URL, "data:image/jpeg;base64,")
			raw, err := base64.StdEncoding.DecodeString(data)
			if !ok || err != nil || p.Type != "image_url" || seen[data] {
				t.Fatalf("%.60s: %v, seen before: %v", p.ImageURL.URL, err, seen[data])
			}
			seen[data] = true
			img, kind, err := image.Decode(bytes.NewReader(raw))
			if err != nil || kind != "jpeg" || img.Bounds() != image.Rect(0, 0, 70, 33) {
				t.Fatalf("%s, %v", kind, err)
			}
		}
		short := string(WithoutImages([]byte(body)))
		if len(short) > 600 || strings.Count(short, "data:image/jpeg;base64,… (") != 2 || !json.Valid([]byte(short)) {
			t.Errorf("%s", short)
		}
	}
}

func TestImagesAreRefused(t *testing.T) {
	for want, change := range map[string]func(*Spec){
		"chat requests":    func(s *Spec) { s.Format = TextCompletions },
		"sessions have no": func(s *Spec) { s.Synthetic.Sessions = &SessionSpec{Turns: Length{Mean: 2}} },
		"not saved":        func(s *Spec) { s.SaveTo = "x" },
		"want 1 to 64":     func(s *Spec) { s.Synthetic.Images.Count = 65 },
		"want sides":       func(s *Spec) { s.Synthetic.Images.Width = 8 },
		"megapixels":       func(s *Spec) { *s.Synthetic.Images = ImageSpec{3, 4096, 4096} },
	} {
		s := Spec{Synthetic: &SyntheticSpec{Prompt: Length{Mean: 8}, Images: &ImageSpec{1, 64, 64}}}
		change(&s)
		if w, err := Open(s, "m"); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
			if w != nil {
				w.Close()
			}
		}
	}
}

func TestParseImageSize(t *testing.T) {
	for text, ok := range map[string]bool{
		"512x512": true, "16x4096": true, "512": false, "512x": false, "x5": false, "5x5x5": false, "05x5": false,
		"5 x 5": false, "5x5 ": false, "": false, "-5x5": true, // the size is checked where it is used
	} {
		if _, _, err := ParseImageSize(text); (err == nil) != ok {
			t.Errorf("%q: %v", text, err)
		}
	}
}

// FuzzWithoutImages: what is left is no longer than a few words an image, and what holds none stays as it is.
func FuzzWithoutImages(f *testing.F) {
	f.Add([]byte(`{"url":"data:image/png;base64,AAAA"}`))
	f.Add([]byte(`data:image/`))
	f.Add([]byte(`"data:image/png"data:image/x,"`))
	f.Fuzz(func(t *testing.T, body []byte) {
		n := bytes.Count(body, []byte(dataURL))
		if got := WithoutImages(body); len(got) > len(body)+60*n || n == 0 && !bytes.Equal(got, body) {
			t.Errorf("%q: %q", body, got)
		}
	})
}

func BenchmarkImage(b *testing.B) {
	m := newImageMaker(ImageSpec{1, 512, 512}, 1)
	n := 0
	for i := 0; b.Loop(); i++ {
		n = len(m.parts(i))
	}
	b.ReportMetric(float64(n), "bytes/image")
}
