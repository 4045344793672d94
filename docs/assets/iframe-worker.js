// Browsers start no workers for pages that were opened from a folder. The search of this site is one: there it runs in a
// hidden frame instead, which has the worker's postMessage, addEventListener and importScripts.
if (location.protocol === "file:") {
  window.Worker = class extends EventTarget {
    constructor(url) {
      super();
      const place = new URL(url, location);
      this.waiting = [];
      this.frame = document.createElement("iframe");
      this.frame.hidden = true;
      document.body.append(this.frame);
      const inside = this.frame.contentWindow;
      const page = inside.document;
      inside.importScripts = (...urls) =>
        urls.reduce((before, one) => before.then(() => new Promise((done, failed) => {
          const script = page.createElement("script");
          Object.assign(script, { src: new URL(one, place).href, onload: done, onerror: failed });
          page.body.append(script);
        })), Promise.resolve());
      inside.postMessage = data => this.dispatchEvent(new MessageEvent("message", { data }));
      inside.importScripts(place).then(() => {
        const send = data => inside.dispatchEvent(new MessageEvent("message", { data }));
        this.waiting.forEach(send);
        this.postMessage = send;
      });
    }

    postMessage(data) {
      this.waiting.push(data);
    }

    terminate() {
      this.frame.remove();
    }
  };
}
