// Around the React example of client/js: a page that shows the state and what arrives.
import { StrictMode, useEffect, useState } from "react";
import { createRoot } from "react-dom/client";
import { useHoming } from "./example.jsx";

const token = async () => (await fetch("/token")).text();

function Page({ url }) {
  const [client, state] = useHoming(url, token);
  const [heard, setHeard] = useState([]);
  useEffect(() => { window.states.push(state); }, [state]);
  useEffect(() => client?.on("notify", (n) => { setHeard((all) => [...all, n.data]); }), [client]);
  return <><p>{state}</p><ul>{heard.map((data, i) => <li key={i}>{data}</li>)}</ul></>;
}

window.states = [];
let root;
window.show = (url) => {
  root ??= createRoot(document.getElementById("root"));
  root.render(<StrictMode><Page url={url} /></StrictMode>);
};
window.unmount = () => root.unmount();
