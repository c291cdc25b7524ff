(() => {
  tableRow($("videos"), ["video, the worst first", "highest score", "in words", "events", "faults of the picture"], true);
  for (const r of data.rows) {
    const row = tableRow($("videos"), ["", r.peak === null ? "-" : times(r.peak), r.severity, r.events, r.faults]);
    put(row.firstChild, "a", r.name, { href: r.report.split("/").map(encodeURIComponent).join("/") });
  }
  $("about").textContent = `${data.made}. Each name opens that video's report.`;
  $("provenance").closest("details").hidden = true;
})();
