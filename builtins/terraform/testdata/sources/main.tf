variable "size" { default = "cx22" }
variable "key" { 
  type = string
  sensitive = true 
  default = "hunter2hunter2"
}
variable "repl" { default = "a" }
variable "n" { default = 2 }
resource "terraform_data" "server" {
  count = var.n
  input = { size = var.size, tags = ["a", "b"] }
  triggers_replace = [var.repl]
}
resource "terraform_data" "secret" {
  input = var.key
}
resource "terraform_data" "install" {
  triggers_replace = [terraform_data.server[0].id]
  provisioner "local-exec" { command = "true" }
}
module "m" {
  source = "./m"
  size = var.size
}
output "id" { value = terraform_data.server[0].id }
output "size" { value = var.size }
output "key" { 
 value = var.key 
 sensitive = true
}
output "all" { value = { id = terraform_data.server[0].id, size = var.size } }
output "mod" { value = module.m.id }
output "big" { value = 12345678901234567890 }
output "f" { value = 1.5 }
