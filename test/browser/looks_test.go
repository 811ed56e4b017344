package browser

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"

	"mcp-access-oauth/test/deployment"
)

// Every page fits a phone, follows the reader's colour scheme, and can be read in both.
func TestLooks(t *testing.T) {
	t.Parallel()
	d := deployment.Start(t)
	app := newApplication(t, d, "Claude Desktop")
	stranger := newApplication(t, d, "Stranger")
	stranger.ClientID = "no-such-client"
	b := openBrowser(t)
	pages := []struct {
		name string
		open func()
	}{
		{"consent", func() { b.do(t, chromedp.Navigate(app.authorizationURL("s"))) }},
		{"sign-in", func() { b.press(t, "Approve") }},
		{"error", func() { b.do(t, chromedp.Navigate(stranger.authorizationURL("s"))) }},
	}
	for _, page := range pages {
		page.open()
		backgrounds := map[string]string{}
		for _, scheme := range []string{"light", "dark"} {
			for _, screen := range []struct {
				name          string
				width, height int64
			}{{"phone", 390, 844}, {"desktop", 1280, 900}, {"narrow", 320, 640}} {
				if _, err := chromedp.Call(b, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
					Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}},
				}); err != nil {
					t.Fatal(err)
				}
				b.do(t, chromedp.EmulateViewport(screen.width, screen.height, chromedp.EmulateScale(2)))
				width, err := chromedp.Run(b, chromedp.Evaluate[int64]("document.documentElement.scrollWidth"))
				if err != nil {
					t.Fatal(err)
				}
				if width > screen.width {
					t.Errorf("the %s page is %d wide on a screen of %d", page.name, width, screen.width)
				}
				if backgrounds[scheme], err = chromedp.Run(b, chromedp.Evaluate[string](
					"getComputedStyle(document.documentElement).backgroundColor + getComputedStyle(document.body).backgroundColor")); err != nil {
					t.Fatal(err)
				}
				if screen.name != "narrow" {
					keep(t, b, page.name+"-"+screen.name+"-"+scheme+".png")
				}
			}
		}
		if backgrounds["light"] == backgrounds["dark"] {
			t.Errorf("the %s page has the same background %s in light and dark", page.name, backgrounds["dark"])
		}
	}
	b.checkQuiet(t, d.Issuer, d.Demo)
}

// keep takes a picture of the whole page when pictures are wanted.
func keep(t *testing.T, b *tab, name string) {
	t.Helper()
	folder := os.Getenv("SCREENSHOTS")
	if folder == "" {
		return
	}
	picture, err := chromedp.Run(b, chromedp.FullScreenshot(100))
	if err == nil {
		err = os.MkdirAll(folder, 0o755)
	}
	if err == nil {
		err = os.WriteFile(filepath.Join(folder, name), picture, 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
}
