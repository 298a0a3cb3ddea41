package page

import (
	"bytes"
	"encoding/xml"
	"errors"
	"image/png"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Slides of every kind of result can be read by others, and are the same each time.
func TestSlides(t *testing.T) {
	inputs := examples(t)
	evil := engine{capacity: 14, seconds: 3, seed: 1}.made(t, 5, 12)
	evil.Asked.Model, evil.Engine.Version = "</svg><script>alert(1)</script>\x00&\"'", "\xff\u2028"
	inputs["hostile"] = Input{Runs: append(inputs["open"].Runs[:0:0], evil)}
	for name, in := range inputs {
		r := in.Runs[0]
		var svg, again, pixels, morePixels bytes.Buffer
		for _, err := range []error{
			WriteSVG(&svg, r), WriteSVG(&again, r), WritePNG(&pixels, r), WritePNG(&morePixels, r),
		} {
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
		}
		if !bytes.Equal(svg.Bytes(), again.Bytes()) || !bytes.Equal(pixels.Bytes(), morePixels.Bytes()) {
			t.Errorf("%s: two slides of one result differ", name)
		}
		if *keep != "" {
			_ = os.WriteFile(filepath.Join(*keep, name+".svg"), svg.Bytes(), 0o644)
			_ = os.WriteFile(filepath.Join(*keep, name+".png"), pixels.Bytes(), 0o644)
		}
		for d := xml.NewDecoder(bytes.NewReader(svg.Bytes())); ; {
			token, err := d.Token()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Errorf("%s: %v", name, err)
				break
			}
			if e, ok := token.(xml.StartElement); ok && e.Name.Local == "script" {
				t.Errorf("%s: a model's name became a script", name)
			}
		}
		if strings.Contains(svg.String(), "NaN") || strings.Contains(svg.String(), "Inf") {
			t.Errorf("%s: a place that is no number", name)
		}
		picture, err := png.Decode(&pixels)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if size := picture.Bounds().Size(); size.X != slideWidth*slideScale || size.Y != slideHeight*slideScale {
			t.Errorf("%s: %v pixels", name, size)
		}
	}
}
