"use strict";

const form = document.getElementById("form");
const said = document.getElementById("said");

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  const field = document.getElementById("token");
  try {
    const answer = await fetch("/sign-in", {
      method: "POST",
      headers: {"Content-Type": "application/json"},
      body: JSON.stringify({token: field.value}),
    });
    if (answer.ok) {
      location.replace("/");
      return;
    }
    said.textContent = answer.status === 401 ? "This is not the token." : await answer.text();
  } catch {
    said.textContent = "The server does not answer.";
  }
  field.select();
});
