package page

import (
	"context"
	"flag"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/browser"
	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"

	"github.com/openloop/openloop/guidellm"
	"github.com/openloop/openloop/report"
)

var inBrowser = flag.Bool("browser", false, "look at pages in Chromium, which takes half a minute (make page-test)")

// chromium starts a browser and returns the context of its first tab.
func chromium(t *testing.T) context.Context {
	t.Helper()
	if !*inBrowser {
		t.Skip("pages are looked at in Chromium by make page-test")
	}
	name := ""
	for _, n := range []string{"chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome"} {
		if found, err := exec.LookPath(n); err == nil {
			name = found
			break
		}
	}
	if name == "" {
		t.Fatal("there is no Chromium here to look at pages with")
	}
	ctx, cancel := chromedp.NewExecAllocator(context.Background(), chromedp.ExecPath(name), chromedp.Headless,
		chromedp.NoSandbox, chromedp.NoFirstRun, chromedp.DisableGPU, chromedp.WindowSize(1280, 1600))
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewContext(ctx)
	t.Cleanup(cancel)
	if err := chromedp.Do(ctx, chromedp.Navigate("about:blank")); err != nil {
		t.Fatal(err)
	}
	return ctx
}

// watched are the complaints and the requests of a tab.
type watched struct {
	mu                   sync.Mutex
	complaints, requests []string
}

func (w *watched) listen(event any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch e := event.(type) {
	case *runtime.EventConsoleAPICalled:
		w.complaints = append(w.complaints, fmt.Sprintf("console.%s %s", e.Type, e.Args[0].Value))
	case *runtime.EventExceptionThrown:
		w.complaints = append(w.complaints, (&chromedp.ExceptionError{ExceptionDetails: e.ExceptionDetails}).Error())
	case *log.EventEntryAdded:
		w.complaints = append(w.complaints, e.Entry.Text)
	case *network.EventRequestWillBeSent:
		w.requests = append(w.requests, e.Request.URL)
	}
}

// shown opens a page in a tab of its own and says what the tab did.
func shown(t *testing.T, parent context.Context, in Input) (context.Context, string, *watched) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "report.html")
	if err := os.WriteFile(file, []byte(written(t, in)), 0o644); err != nil {
		t.Fatal(err)
	}
	address := (&url.URL{Scheme: "file", Path: file}).String()
	tab, cancel := chromedp.NewContext(parent)
	t.Cleanup(cancel)
	tab, cancel = context.WithTimeout(tab, 2*time.Minute)
	t.Cleanup(cancel)
	w := &watched{}
	if err := chromedp.Listen(tab, w.listen); err != nil {
		t.Fatal(err)
	}
	call(t, tab, network.Enable, network.EnableParams{})
	call(t, tab, log.Enable, cdp.Empty{})
	call(t, tab, runtime.Enable, cdp.Empty{})
	// Timelines unpack their requests in the background.
	run(t, tab, chromedp.Navigate(address), waitFor(`openloop.waiting === 0`))
	return tab, address, w
}

func run(t *testing.T, tab context.Context, actions ...chromedp.Action[chromedp.Void]) {
	t.Helper()
	if err := chromedp.Do(tab, actions...); err != nil {
		t.Fatal(err)
	}
}

func call[P, R any](t *testing.T, tab context.Context, command cdp.Command[P, R], params P) R {
	t.Helper()
	r, err := chromedp.Call(tab, command, params)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// waitFor waits until an expression holds.
func waitFor(expression string) chromedp.Action[chromedp.Void] {
	return chromedp.Poll[chromedp.Void](expression)
}

// ask is what an expression of JavaScript is in a tab.
func ask[T any](t *testing.T, tab context.Context, expression string) T {
	t.Helper()
	v, err := chromedp.Run(tab, chromedp.Evaluate[T](expression, chromedp.EvalAwaitPromise))
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// guideLLMs is a page of a report that GuideLLM wrote.
func guideLLMs(t *testing.T) Input {
	t.Helper()
	file, err := guidellm.ReadFile("../../testdata/golden/sweep-constant/report.json.gz")
	if err != nil {
		t.Fatal(err)
	}
	return Input{Runs: []*report.Result{guidellm.Import(file)}}
}

// Pages of all kinds, as a browser sees them.
func TestPagesInABrowser(t *testing.T) {
	parent := chromium(t)
	inputs := examples(t)
	inputs["GuideLLM's"] = guideLLMs(t)
	for name, in := range inputs {
		t.Run(name, func(t *testing.T) {
			tab, address, w := shown(t, parent, in)
			charts := ask[[]int](t, tab, `openloop.charts.map(c => c.points)`)
			if name != "nothing" && len(charts) < 4 {
				t.Errorf("%d charts", len(charts))
			}
			for i, points := range charts {
				if points == 0 {
					what := ask[string](t, tab, fmt.Sprintf(
						`openloop.charts[%d].element.closest('figure,.row,.lanes').innerText`, i))
					t.Errorf("a chart without a point: %s", what)
				}
			}
			if wide := ask[float64](t, tab, `document.documentElement.scrollWidth - innerWidth`); wide > 0 {
				t.Errorf("the page is %v pixels wider than the window", wide)
			}
			run(t, tab, chromedp.EmulateViewport(390, 844, chromedp.EmulateMobile))
			if wide := ask[float64](t, tab, `document.documentElement.scrollWidth - innerWidth`); wide > 0 {
				t.Errorf("on a phone, the page is %v pixels wider than the window", wide)
			}
			run(t, tab, chromedp.ResetViewport())
			pdf, err := chromedp.Run(tab, chromedp.PrintToPDF(chromedp.PDFPaper(chromedp.PaperA4),
				chromedp.PDFPrintBackground()))
			if err != nil {
				t.Fatal(err)
			}
			if *keep != "" {
				_ = os.WriteFile(filepath.Join(*keep, strings.ReplaceAll(name, "'", "")+".pdf"), pdf, 0o644)
			}
			want := len(in.Runs)
			if in.Comparison != nil {
				want++ // which has one of its own
			}
			if pages := len(regexp.MustCompile(`/Type\s*/Page\b`).FindAll(pdf, -1)); pages != want {
				t.Errorf("%d printed pages, want %d", pages, want)
			}
			keepPictures(t, tab, name)
			w.mu.Lock()
			defer w.mu.Unlock()
			for _, c := range w.complaints {
				t.Errorf("the browser complains: %s", c)
			}
			for _, r := range w.requests {
				if r != address && !strings.HasPrefix(r, "data:") && !strings.HasPrefix(r, "blob:") {
					t.Errorf("the page asks for %s", r)
				}
			}
		})
	}
}

// keepPictures keeps what the page looks like, for people to look at: as it is, dark, on a phone and printed.
func keepPictures(t *testing.T, tab context.Context, name string) {
	t.Helper()
	if *keep == "" {
		return
	}
	name = strings.ReplaceAll(name, "'", "")
	take := func(kind string) {
		picture, err := chromedp.Run(tab, chromedp.FullScreenshot(100))
		if err != nil {
			t.Fatal(err)
		}
		_ = os.WriteFile(filepath.Join(*keep, name+"-"+kind+".png"), picture, 0o644)
	}
	run(t, tab, chromedp.EmulateViewport(1280, 1600), chromedp.Sleep(200*time.Millisecond))
	take("light")
	run(t, tab, chromedp.Evaluate[chromedp.Void](`document.querySelector('#theme').click()`),
		chromedp.Sleep(200*time.Millisecond))
	take("dark")
	run(t, tab, chromedp.Evaluate[chromedp.Void](`document.querySelector('#theme').click()`),
		chromedp.EmulateViewport(390, 844, chromedp.EmulateMobile), chromedp.Sleep(200*time.Millisecond))
	take("phone")
	call(t, tab, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Media: "print"})
	run(t, tab, chromedp.EmulateViewport(726, 1054, chromedp.EmulateScale(2)))
	take("print")
	call(t, tab, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{})
}

// What a reader can do with a page.
func TestUsingAPage(t *testing.T) {
	parent := chromium(t)
	tab, _, w := shown(t, parent, examples(t)["search"])
	t.Run("sort", func(t *testing.T) {
		column := func() []string {
			return ask[[]string](t, tab,
				`[...document.querySelectorAll('.sortable tbody tr')].map(r => r.cells[6].dataset.sort)`)
		}
		before := column()
		run(t, tab, chromedp.Click(chromedp.CSS(`.sortable thead th:nth-child(7) button`)))
		up := column()
		// By the keyboard the second time.
		run(t, tab, chromedp.Focus(chromedp.CSS(`.sortable thead th:nth-child(7) button`)),
			chromedp.KeyEvent("\r"))
		down := column()
		for i := range up {
			if up[i] != down[len(down)-1-i] {
				t.Fatalf("rising %v, falling %v", up, down)
			}
		}
		if strings.Join(before, " ") == strings.Join(up, " ") || strings.Join(before, " ") == strings.Join(down, " ") {
			t.Errorf("the table was sorted before: %v", before)
		}
		is := ask[string](t, tab, `document.querySelector('.sortable thead th:nth-child(7)').ariaSort`)
		if is != "descending" {
			t.Errorf("aria-sort is %q", is)
		}
	})
	t.Run("copy", func(t *testing.T) {
		for _, name := range []string{"clipboard-read", "clipboard-write"} {
			granted := browser.SetPermissionParams{
				Permission: &browser.PermissionDescriptor{Name: name}, Setting: browser.PermissionSettingGranted,
			}
			if _, err := chromedp.CallBrowser(tab, browser.SetPermission, granted); err != nil {
				t.Fatal(err)
			}
		}
		const want = `openloop sweep http://vllm:8000 --slo 'ttft:p95<250ms tpot:p95<25ms errors<1%' ` +
			`--prompt-tokens 256 --output-tokens 128 --arrival poisson`
		run(t, tab, chromedp.Click(chromedp.CSS(`.copy`)),
			waitFor(`document.querySelector('.copy').textContent.includes('✔')`))
		if got := ask[string](t, tab, `navigator.clipboard.readText()`); got != want {
			t.Errorf("copied %q", got)
		}
		// Where a page may not write to the clipboard, the old way is left.
		fallback := ask[string](t, tab, `(async () => {
			let text = '';
			document.addEventListener('copy', () => { text = document.activeElement.value; }, { once: true });
			const refuses = { writeText: () => Promise.reject() };
			Object.defineProperty(navigator, 'clipboard', { value: refuses, configurable: true });
			document.querySelector('.copy').click();
			await new Promise(done => setTimeout(done, 200));
			delete navigator.clipboard;
			return text;
		})()`)
		if fallback != want {
			t.Errorf("copied the old way: %q", fallback)
		}
	})
	t.Run("open a stage", func(t *testing.T) {
		at := func() string { return ask[string](t, tab, `document.querySelector('.stage.open').dataset.stage`) }
		before := at()
		run(t, tab, chromedp.Click(chromedp.CSS(`.sortable tbody tr[data-stage="2"] a`)),
			waitFor(`openloop.waiting === 0 && openloop.views.length > 1`))
		if after := at(); before == after || after != "2" {
			t.Errorf("stage %s is open after a click on stage 2", after)
		}
		if bars := ask[int](t, tab, `openloop.views.at(-1).bars`); bars == 0 {
			t.Error("no request is drawn")
		}
		if focus := ask[string](t, tab, `document.activeElement.id`); focus != "stage-0-2" {
			t.Errorf("%q has the focus", focus)
		}
		run(t, tab, chromedp.Evaluate[chromedp.Void](`document.querySelector('.charts .pt[data-stage="4"]')
				.dispatchEvent(new MouseEvent('click', { bubbles: true }))`),
			waitFor(`openloop.waiting === 0`))
		if after := at(); after != "4" {
			t.Errorf("stage %s is open after a click on the mark of stage 4", after)
		}
	})
	t.Run("zoom", func(t *testing.T) {
		span := func() float64 { return ask[float64](t, tab, `openloop.views.at(-1).to - openloop.views.at(-1).from`) }
		whole := span()
		run(t, tab, chromedp.Focus(chromedp.CSS(`.stage.open canvas`)), chromedp.KeyEvent("+"))
		if got := span(); got > 0.51*whole {
			t.Errorf("%v s of %v after zooming in", got, whole)
		}
		axis := ask[float64](t, tab, `new Promise(done => requestAnimationFrame(() => requestAnimationFrame(() => {
			const u = openloop.views.at(-1).plots[0]; done(u.scales.x.max - u.scales.x.min); })))`)
		if axis > 0.51*whole {
			t.Errorf("the series still show %v s of %v", axis, whole)
		}
		run(t, tab, chromedp.KeyEvent("0"))
		if got := span(); got != whole {
			t.Errorf("%v s of %v after zooming out", got, whole)
		}
	})
	t.Run("dark", func(t *testing.T) {
		back := func() string { return ask[string](t, tab, `getComputedStyle(document.body).backgroundColor`) }
		light := back()
		run(t, tab, chromedp.Click(chromedp.CSS(`#theme`)))
		dark := back()
		run(t, tab, chromedp.Click(chromedp.CSS(`#theme`)))
		if light == dark || back() != light {
			t.Errorf("light %s, dark %s, light again %s", light, dark, back())
		}
	})
	for _, c := range w.complaints {
		t.Errorf("the browser complains: %s", c)
	}
}

// What is drawn of 100,000 requests is drawn in a moment, wherever one looks.
func TestManyRequests(t *testing.T) {
	tab, _, _ := shown(t, chromium(t), examples(t)["many"])
	got := ask[[]float64](t, tab, `(() => {
		const v = openloop.views[0], took = [];
		for (let i = 0; i < 30; i++) {
			v.zoom(i < 20 ? 0.8 : 1.5, v.from + (v.to - v.from) * 0.3);
			const before = performance.now();
			v.lanes.draw();
			took.push(performance.now() - before);
		}
		took.sort((a, b) => a - b);
		return [v.requests.n, took[15]];
	})()`)
	t.Logf("%.0f requests, drawn in %.1f ms (median)", got[0], got[1])
	if got[0] < 100_000 {
		t.Errorf("%v requests", got[0])
	}
}
