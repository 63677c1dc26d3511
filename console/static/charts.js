// Draws each chart from the figures that its element carries.
for (const place of document.querySelectorAll(".chart")) {
  const figure = JSON.parse(place.dataset.figure);
  Plotly.newPlot(place, figure.data, figure.layout, { displaylogo: false, responsive: true, locale: "zh-CN" });
}
